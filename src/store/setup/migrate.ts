import { readdir, readFile } from 'node:fs/promises'
import { type Kysely, sql } from 'kysely'
import { type Migration, Migrator } from 'kysely/migration'
import { TokenvaultError } from '../../errors.ts'
import { namingFailures, type TokenvaultDatabase } from '../postgres/database.ts'

const migrationsDirectory = new URL('../../../migrations/', import.meta.url)

/** Numbered SQL files. A migration is SQL that never changes again; it calls no live code. */
async function readMigrations(directory: URL): Promise<Record<string, Migration>> {
  const files = (await readdir(directory)).filter(file => /^\d{4}_[a-z_]+\.sql$/.test(file)).sort()
  const entries = files.map(async file => {
    const text = await readFile(new URL(file, directory), 'utf8')
    const up = async (database: Kysely<unknown>) => {
      await sql.raw(text).execute(database)
    }
    return [file.replace('.sql', ''), { up }] as const
  })
  return Object.fromEntries(await Promise.all(entries))
}

/** Grants of one role to another WITH SET and INHERIT are of Postgres 16. */
const oldestServer = 16

async function checkServer(database: TokenvaultDatabase): Promise<void> {
  const { rows } = await sql<{ version: number }>`
    select current_setting('server_version_num')::int / 10000 as version`.execute(database)
  const version = rows[0]?.version ?? 0
  if (version >= oldestServer) return
  throw new TokenvaultError(
    'migration_failed',
    `the server is Postgres ${version}; ${oldestServer} or newer is needed. Nothing was changed`,
  )
}

/** What to do about a database whose recorded migrations are not the first of ours. */
async function explainNames(transaction: TokenvaultDatabase, ours: readonly string[]): Promise<string> {
  const { rows } = await sql<{ name: string }>`select name from tokenvault_migrations.kysely_migration`.execute(
    transaction,
  )
  const recorded = new Set(rows.map(({ name }) => name))
  return ours.every(name => recorded.has(name))
    ? 'a newer version of tokenvault migrated the database: run that version. Nothing was changed'
    : 'an unreleased version of tokenvault made the database, and it cannot be upgraded: migrate an empty database and ' +
        'ingest the events again. Nothing was changed'
}

/**
 * Applies the migrations that are missing, all of them or none, in one transaction under a transaction-level advisory
 * lock: any number of migrators may start at once, also through a connection pooler, and each migration runs once.
 *
 * @param database a connection that may create roles, or one for which the roles and its membership in
 *   tokenvault_owner were made before
 * @param directory where the numbered SQL files are, with a trailing slash
 * @returns the names of the migrations that this call applied
 * @throws TokenvaultError `migration_failed` naming the migration, `store_unavailable`
 */
export async function migrate(
  database: TokenvaultDatabase,
  directory: URL = migrationsDirectory,
): Promise<readonly string[]> {
  const migrations = await readMigrations(directory)
  let failed: string | undefined
  try {
    return await namingFailures(() =>
      database
        .transaction()
        // A statement after a lock sees what was committed before it.
        .setIsolationLevel('read committed')
        .execute(async transaction => {
          await checkServer(transaction)
          await sql`select pg_advisory_xact_lock(hashtextextended('tokenvault/migrate', 0))`.execute(transaction)
          const migrator = new Migrator({
            db: transaction,
            provider: { getMigrations: async () => migrations },
            migrationTableSchema: 'tokenvault_migrations',
          })
          const { error, results = [] } = await migrator.migrateToLatest()
          failed = results.find(({ status }) => status === 'Error')?.migrationName
          // The migrator compares names before it runs anything, and says so in an error of its own.
          if (error instanceof Error && error.message.startsWith('corrupted migrations'))
            throw new TokenvaultError('migration_failed', await explainNames(transaction, Object.keys(migrations)))
          if (error !== undefined) throw error
          return results.map(({ migrationName }) => migrationName)
        }),
    )
  } catch (error) {
    if (failed === undefined || !(error instanceof TokenvaultError)) throw error
    throw new TokenvaultError('migration_failed', `migration ${failed}: ${error.message}`)
  }
}
