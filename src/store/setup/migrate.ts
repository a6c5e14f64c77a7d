import { readdir, readFile } from 'node:fs/promises'
import { type Kysely, sql } from 'kysely'
import { type Migration, Migrator } from 'kysely/migration'
import { TokenvaultError } from '../../errors.ts'
import { namingFailures, type TokenvaultDatabase } from '../postgres/database.ts'
import { isRestored, joinOwner, type Mended, mendAccess } from './access.ts'
import { checkDurability } from './durability.ts'
import { describeFindings, type SetupFinding } from './findings.ts'
import { checkRoleLimits } from './role-limits.ts'
import { checkServer } from './server.ts'
import { mendTokenColumns } from './token-columns.ts'

const migrationsDirectory = new URL('../../../migrations/', import.meta.url)

/** Numbered SQL files by name. A migration is SQL that never changes again; it calls no live code. */
async function readMigrations(directory: URL): Promise<ReadonlyMap<string, string>> {
  const files = (await readdir(directory)).filter(file => /^\d{4}_[a-z_]+\.sql$/.test(file)).sort()
  const entries = files.map(async file => {
    return [file.replace('.sql', ''), await readFile(new URL(file, directory), 'utf8')] as const
  })
  return new Map(await Promise.all(entries))
}

function asMigrations(texts: ReadonlyMap<string, string>): Record<string, Migration> {
  const migrations = [...texts].map(([name, text]) => {
    const up = async (database: Kysely<unknown>) => {
      await sql.raw(text).execute(database)
    }
    return [name, { up }] as const
  })
  return Object.fromEntries(migrations)
}

/**
 * What a migration does to the server and to the database as a whole, before it becomes the owner of what is in it: roles,
 * their limits, who may connect. It can be run again.
 */
function readPreamble(text: string): string {
  return /^(.*?)^SET LOCAL ROLE tokenvault_owner;/ms.exec(text)?.[1] ?? ''
}

/** @throws TokenvaultError `store_misconfigured` before anything is changed, where server or database lacks what is needed */
async function refuseUnfit(transaction: TokenvaultDatabase): Promise<readonly SetupFinding[]> {
  const findings = await checkServer(transaction)
  const failures = findings.filter(({ status }) => status === 'fail')
  if (failures.length > 0)
    throw new TokenvaultError('store_misconfigured', `${describeFindings(failures)}. Nothing was changed`)
  return [...findings, ...(await checkDurability(transaction))]
}

async function readRecorded(transaction: TokenvaultDatabase): Promise<ReadonlySet<string>> {
  const { rows } = await sql<{ is_there: boolean }>`
    select to_regclass('tokenvault_migrations.kysely_migration') is not null as is_there`.execute(transaction)
  if (!rows[0]!.is_there) return new Set()
  const recorded = await sql<{ name: string }>`select name from tokenvault_migrations.kysely_migration`.execute(
    transaction,
  )
  return new Set(recorded.rows.map(({ name }) => name))
}

const cannotBeUpgraded =
  'an unreleased version of tokenvault made the database, and it cannot be upgraded: migrate an empty database and ' +
  'ingest the events again. Nothing was changed'

/** The first migration of the releases whose tokens are the SIV alone. */
const firstOfTodaysTokens = '0011_duplicates'

/**
 * An original of before holds its value and not the ciphertext of its token, under the id that the token of today has, too: it
 * would never be given back, neither for the old token nor for a new one of the same value.
 */
async function refuseOldOriginals(transaction: TokenvaultDatabase, recorded: ReadonlySet<string>): Promise<void> {
  if (recorded.has(firstOfTodaysTokens) || !recorded.has('0005_originals')) return
  const { rows } = await sql<{ is_filled: boolean }>`
    select exists (select from pii_vault.originals) as is_filled`.execute(transaction)
  if (rows[0]!.is_filled) throw new TokenvaultError('migration_failed', cannotBeUpgraded)
}

/** What to do about a database whose recorded migrations are not the first of ours. */
async function explainNames(transaction: TokenvaultDatabase, ours: readonly string[]): Promise<string> {
  const recorded = await readRecorded(transaction)
  return ours.every(name => recorded.has(name))
    ? 'a newer version of tokenvault migrated the database: run that version. Nothing was changed'
    : cannotBeUpgraded
}

export interface Migrated {
  /** Names of the migrations that this call applied. */
  readonly migrations: readonly string[]
  /** The SQL that gave roles, owners and grants back: none, unless a restore or a hand took them. */
  readonly mended: readonly string[]
  /** What is not as the product needs it, and stays so. */
  readonly findings: readonly SetupFinding[]
}

/**
 * Applies the migrations that are missing, all of them or none, in one transaction under a transaction-level advisory
 * lock: any number of migrators may start at once, also through a connection pooler, and each migration runs once. In
 * the same transaction roles, owners and grants are made what the migrations make them, whatever a restore lost.
 *
 * @param database a connection that may create roles, or one for which the roles and its membership in
 *   tokenvault_owner were made before
 * @param directory where the numbered SQL files are, with a trailing slash; of files that are not ours nothing but themselves
 *   is applied
 * @throws TokenvaultError `migration_failed` naming the migration; `store_misconfigured` where the server is not fit for
 *   any; `store_unavailable`. In all cases nothing was changed
 */
export async function migrate(database: TokenvaultDatabase, directory: URL = migrationsDirectory): Promise<Migrated> {
  const texts = await readMigrations(directory)
  const migrations = asMigrations(texts)
  let failed: string | undefined
  try {
    return await namingFailures(() =>
      database
        .transaction()
        // A statement after a lock sees what was committed before it.
        .setIsolationLevel('read committed')
        .execute(async transaction => {
          const warnings = await refuseUnfit(transaction)
          await sql`select pg_advisory_xact_lock(hashtextextended('tokenvault/migrate', 0))`.execute(transaction)
          const isOurs = directory === migrationsDirectory
          const before = isOurs ? await prepare(transaction, texts) : []
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
          const access = isOurs ? await mendAll(transaction) : { statements: [], findings: [] }
          return {
            migrations: results.map(({ migrationName }) => migrationName),
            mended: [...before, ...access.statements],
            findings: [...warnings, ...access.findings],
          }
        }),
    )
  } catch (error) {
    if (failed === undefined || !(error instanceof TokenvaultError)) throw error
    throw new TokenvaultError('migration_failed', `migration ${failed}: ${error.message}`)
  }
}

/** Of our objects and of the columns of others that hold tokens. */
async function mendAll(transaction: TokenvaultDatabase): Promise<Mended> {
  const access = await mendAccess(transaction)
  const columns = await mendTokenColumns(transaction)
  return {
    statements: [...access.statements, ...columns.statements],
    findings: [...access.findings, ...(await checkRoleLimits(transaction)), ...columns.findings],
  }
}

/**
 * Makes the roles that a dump names, and what else of the migrations concerns the server and not what is in the database: for an
 * empty database into which one is to be restored.
 *
 * @throws TokenvaultError `store_misconfigured`, `store_unavailable`; nothing was changed then
 */
export async function createRoles(database: TokenvaultDatabase): Promise<void> {
  const texts = await readMigrations(migrationsDirectory)
  await namingFailures(() =>
    database.transaction().execute(async transaction => {
      await refuseUnfit(transaction)
      await sql`select pg_advisory_xact_lock(hashtextextended('tokenvault/migrate', 0))`.execute(transaction)
      for (const text of texts.values()) {
        const preamble = readPreamble(text)
        if (/^(?!--)./m.test(preamble)) await sql.raw(preamble).execute(transaction)
      }
    }),
  )
}

/** Gives a restored database back what its next migrations run as, and on. */
async function prepare(transaction: TokenvaultDatabase, ours: ReadonlyMap<string, string>): Promise<readonly string[]> {
  const recorded = await readRecorded(transaction)
  // A database of another version is refused by the migrator, and left as it is.
  if (recorded.size === 0 || ![...recorded].every(name => ours.has(name))) return []
  const given: string[] = []
  if (await isRestored(transaction)) {
    for (const name of [...recorded].sort()) {
      const preamble = readPreamble(ours.get(name)!)
      if (!/^(?!--)./m.test(preamble)) continue
      await sql.raw(preamble).execute(transaction)
      given.push(`-- the first part of ${name}`)
    }
  }
  given.push(...(await joinOwner(transaction)))
  await refuseOldOriginals(transaction, recorded)
  if ([...ours.keys()].every(name => recorded.has(name))) return given
  const owners = (statement: string) => / OWNER TO | ON (DATABASE|SCHEMA) /.test(statement)
  return [...given, ...(await mendAccess(transaction, { only: owners })).statements]
}
