import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import type pg from 'pg'
import type { Test } from 'tap'
import { createDatabase } from '../../../src/store/postgres/database.ts'
import { migrate } from '../../../src/store/setup/migrate.ts'
import { createTestDatabase, runAsAdmin, type TestDatabase, testCluster } from './embedded-postgres.ts'

const migrations = new URL('../../../migrations/', import.meta.url)

/** `preambles`: what migrations do to the database as a whole and can do again, which a copy of a database lacks. */
function readMigrations(): { readonly digest: string; readonly preambles: readonly string[] } {
  const texts = readdirSync(migrations)
    .sort()
    .map(file => readFileSync(new URL(file, migrations), 'utf8'))
  const digest = createHash('sha256').update(texts.join('\0')).digest('hex').slice(0, 16)
  const preambles = texts.map(text => text.split(/^SET LOCAL ROLE tokenvault_owner;/m)[0]!)
  return { digest, preambles: preambles.filter(preamble => /^(?!--)./m.test(preamble)) }
}

/** Read once: a process makes many. */
let own: ReturnType<typeof readMigrations> | undefined

/**
 * Creates a database as `tokenvault migrate` leaves it. A database of the cluster is migrated once, by whoever comes first, and
 * copied: that costs a third of a migration, of which the suite would make hundreds. It is dropped when the test ends.
 */
export async function createMigratedDatabase(t: Pick<Test, 'teardown'>): Promise<TestDatabase> {
  own ??= readMigrations()
  const { digest, preambles } = own
  const template = `migrated_${digest}`
  const findTemplate = async (admin: pg.Client) => {
    await ensureTemplate(admin, template)
    return template
  }
  const created = await createTestDatabase(t, { findTemplate })
  await runAsAdmin(created.adminUrl, async admin => {
    // They set what all databases of the cluster share, and two that do so at once collide.
    const lock = `SELECT pg_advisory_xact_lock(hashtextextended('tokenvault/migrate', 0))`
    await admin.query(['BEGIN', lock, ...preambles, 'COMMIT'].join(';\n'))
  })
  return created
}

async function ensureTemplate(admin: pg.Client, template: string): Promise<void> {
  const isThere = async () =>
    (await admin.query('SELECT FROM pg_database WHERE datname = $1', [template])).rowCount === 1
  if (await isThere()) return
  // Of the session, as a database is not created in a transaction.
  await admin.query(`SELECT pg_advisory_lock(hashtextextended('tokenvault/test-template', 0))`)
  if (!(await isThere())) await makeTemplate(admin, template)
  await admin.query('SELECT pg_advisory_unlock_all()')
}

async function makeTemplate(admin: pg.Client, template: string): Promise<void> {
  // Under another name until it is whole: whoever makes it may be killed.
  const unfinished = `unfinished_${template}`
  await admin.query(`DROP DATABASE IF EXISTS ${unfinished} WITH (FORCE)`)
  await admin.query(`CREATE DATABASE ${unfinished}`)
  const url = new URL(await testCluster())
  url.pathname = `/${unfinished}`
  const database = createDatabase({ url: url.href, poolMax: 1, applicationName: 'tokenvault test' })
  await migrate(database).finally(() => database.destroy())
  await admin.query(`ALTER DATABASE ${unfinished} ALLOW_CONNECTIONS false`)
  await admin.query(`ALTER DATABASE ${unfinished} RENAME TO ${template}`)
}
