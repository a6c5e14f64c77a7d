import { readdir, readFile } from 'node:fs/promises'
import { type Kysely, sql } from 'kysely'
import { type MigrationProvider, Migrator } from 'kysely/migration'
import { TokenvaultError } from '../errors.ts'
import type { TokenvaultDatabase } from './database.ts'
import { namingFailures } from './failure.ts'

const migrationsDirectory = new URL('../../migrations/', import.meta.url)

/** Numbered SQL files. A migration is SQL that never changes again; it calls no live code. */
const provider: MigrationProvider = {
  async getMigrations() {
    const files = (await readdir(migrationsDirectory)).filter(file => /^\d{4}_[a-z_]+\.sql$/.test(file)).sort()
    const entries = files.map(async file => {
      const text = await readFile(new URL(file, migrationsDirectory), 'utf8')
      const up = async (database: Kysely<unknown>) => {
        await sql.raw(text).execute(database)
      }
      return [file.replace('.sql', ''), { up }] as const
    })
    return Object.fromEntries(await Promise.all(entries))
  },
}

/**
 * Applies the migrations that are missing, all of them or none, in one transaction under a transaction-level advisory
 * lock: any number of migrators may start at once, also through a connection pooler, and each migration runs once.
 *
 * @param database a connection that may create roles, or one for which the roles and its membership in
 *   tokenvault_owner were made before
 * @returns the names of the migrations that this call applied
 * @throws TokenvaultError `migration_failed` naming the migration, `store_unavailable`
 */
export async function migrate(database: TokenvaultDatabase): Promise<readonly string[]> {
  let failed: string | undefined
  try {
    return await database.transaction().execute(async transaction => {
      await sql`select pg_advisory_xact_lock(hashtextextended('tokenvault/migrate', 0))`.execute(transaction)
      const migrator = new Migrator({ db: transaction, provider, migrationTableSchema: 'tokenvault_migrations' })
      const { error, results = [] } = await migrator.migrateToLatest()
      failed = results.find(({ status }) => status === 'Error')?.migrationName
      if (error !== undefined) throw error
      return results.map(({ migrationName }) => migrationName)
    })
  } catch (error) {
    return namingFailures(async () => {
      throw error
    }).catch((named: TokenvaultError) => {
      if (failed === undefined) throw named
      throw new TokenvaultError('migration_failed', `migration ${failed}: ${named.message}`)
    })
  }
}
