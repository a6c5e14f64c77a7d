import { sql } from 'kysely'
import t, { type Test } from 'tap'
import { createIngestStore } from '../../../src/store/ingest.ts'
import { createKeyReader } from '../../../src/store/keys.ts'
import { namingFailures, type TokenvaultDatabase } from '../../../src/store/postgres/database.ts'
import { loginFields } from '../../../src/vault/fields/fields.ts'
import { createVaultDatabase } from '../../helpers/postgres/vault-database.ts'
import { loginRow, messageOf } from '../../helpers/queue/tokenized-messages.ts'

async function sessionOf(database: TokenvaultDatabase): Promise<number> {
  const { rows } = await sql<{ pid: number }>`select pg_backend_pid() as pid`.execute(database)
  return rows[0]!.pid
}

/** As many sessions as the pool takes, each open and idle. */
async function openSessions(database: TokenvaultDatabase, count: number): Promise<number[]> {
  const pids = await Promise.all(
    Array.from({ length: count }, () =>
      database.connection().execute(async connection => {
        await sql`select pg_sleep(0.05)`.execute(connection)
        return sessionOf(connection)
      }),
    ),
  )
  return [...new Set(pids)]
}

async function fail(t: Test, database: TokenvaultDatabase, sqlState: string) {
  const raise = sql.raw(`do $$ begin raise exception 'as the test wants it' using errcode = '${sqlState}'; end $$`)
  await t.rejects(
    namingFailures(() => raise.execute(database)),
    { message: new RegExp(`SQLSTATE ${sqlState}$`) },
  )
}

t.test('sessions of a server that takes no writes any more are all left at the first refusal', async t => {
  const vault = await createVaultDatabase(t)
  const admin = await vault.connect()
  // As after a failover: sessions that are open stay with a server that is read-only, new ones reach one that is not.
  await admin.query(`ALTER DATABASE ${vault.name} SET default_transaction_read_only = on`)
  const database = vault.database('tokenvault_worker', 4)
  const old = await openSessions(database, 4)
  t.equal(old.length, 4)
  await admin.query(`ALTER DATABASE ${vault.name} RESET default_transaction_read_only`)
  const store = createIngestStore(database, loginFields)
  const messages = [messageOf('m-1', loginRow(vault.tokenizer, 1))]
  await t.rejects(store.storeMessages(messages), { code: 'store_unavailable', message: /takes no writes.+25006$/ })
  for (let call = 0; call < 8; call++) t.notOk(old.includes(await sessionOf(database)))
  t.match(await store.storeMessages(messages), { rows: 1, quarantined: 0, duplicates: 0 })
})

t.test('a session is kept after faults that leave it sound, and ended after all others', async t => {
  const vault = await createVaultDatabase(t)
  const database = vault.database('tokenvault_worker', 1)
  let pid = await sessionOf(database)
  for (const sqlState of ['22003', '23505', '40001', '40P01', '42501', '42883', '53100', '55P03', '57014', '0A000']) {
    await fail(t, database, sqlState)
    t.equal(await sessionOf(database), pid, `${sqlState} leaves the session sound`)
  }
  for (const sqlState of ['08006', '25006', '25P02', '25P03', '57P01', '57P03', 'XX000', 'XX001', 'ZZ999']) {
    await fail(t, database, sqlState)
    const next = await sessionOf(database)
    t.not(next, pid, `${sqlState} ends the session`)
    pid = next
  }
})

t.test('a grant, a function or a table that is missing spends no message: it is the schema that is wrong', async t => {
  const vault = await createVaultDatabase(t)
  const admin = await vault.connect()
  const messages = [messageOf('m-1', loginRow(vault.tokenizer, 1))]
  const faults: [spoil: string, mend: string, message: RegExp][] = [
    [
      'REVOKE INSERT ON pii_vault.originals FROM tokenvault_worker',
      'GRANT INSERT ON pii_vault.originals TO tokenvault_worker',
      /^a grant is missing.+42501$/,
    ],
    [
      'ALTER FUNCTION ingest.ensure_partitions(date[]) RENAME TO gone',
      'ALTER FUNCTION ingest.gone(date[]) RENAME TO ensure_partitions',
      /^a function is missing.+42883$/,
    ],
    [
      'ALTER TABLE public.user_logins RENAME TO gone',
      'ALTER TABLE public.gone RENAME TO user_logins',
      /^a table or view is missing.+42P01$/,
    ],
    [
      'ALTER TABLE public.user_logins RENAME locale TO gone',
      'ALTER TABLE public.user_logins RENAME gone TO locale',
      /^a column is missing.+42703$/,
    ],
    ['ALTER SCHEMA ingest RENAME TO gone', 'ALTER SCHEMA gone RENAME TO ingest', /^a schema is missing.+3F000$/],
  ]
  for (const [spoil, mend, message] of faults) {
    const store = createIngestStore(vault.database('tokenvault_worker', 1), loginFields)
    await admin.query(spoil)
    await t.rejects(store.storeMessages(messages), { code: 'store_misconfigured', message }, spoil)
    await admin.query(mend)
  }
  const store = createIngestStore(vault.database('tokenvault_worker', 1), loginFields)
  t.match(await store.storeMessages(messages), { rows: 1 })
  t.equal((await createKeyReader(vault.database('tokenvault_worker')).readKeys()).length, 7)
})

t.test('a database whose clock is days off blames no message', async t => {
  const vault = await createVaultDatabase(t)
  const admin = await vault.connect()
  const { rows } = await admin.query(
    `SELECT pg_get_functiondef('ingest.ensure_partitions(date[])'::regprocedure) AS definition`,
  )
  const messages = [messageOf('m-1', loginRow(vault.tokenizer, 1))]
  for (const offset of ['- 5', '+ 40']) {
    await admin.query(rows[0].definition.replaceAll('current_date', `(current_date ${offset})`))
    const store = createIngestStore(vault.database('tokenvault_worker', 1), loginFields)
    await t.rejects(store.storeMessages(messages), {
      code: 'store_unavailable',
      message: /^the clocks of the database and of this host differ by days.+22008$/,
    })
  }
  await admin.query(rows[0].definition)
  const store = createIngestStore(vault.database('tokenvault_worker', 1), loginFields)
  t.match(await store.storeMessages(messages), { rows: 1 })
  // A clock that leaps ahead has the days of today dropped, of which this process knows that they are there.
  await admin.query('DELETE FROM ingest.receipts')
  const partitions = await admin.query(`SELECT inhrelid::regclass AS name FROM pg_inherits
    WHERE inhparent = 'ingest.receipts'::regclass`)
  for (const { name } of partitions.rows) await admin.query(`DROP TABLE ${name}`)
  await t.rejects(store.storeMessages(messages), { code: 'store_unavailable', message: /23514$/ })
  t.match(await store.storeMessages(messages), { rows: 1 })
})
