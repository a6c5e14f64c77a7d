import type pg from 'pg'
import t, { type Test } from 'tap'
import { createIngestStore } from '../../../src/store/ingest.ts'
import { loginFields } from '../../../src/vault/fields/fields.ts'
import { createVaultDatabase, openDatabase } from '../../helpers/postgres/vault-database.ts'
import { day, loginRow, messageOf } from '../../helpers/queue/tokenized-messages.ts'

async function startStore(t: Test) {
  const vault = await createVaultDatabase(t)
  const newStore = () => createIngestStore(openDatabase(t, vault.urlFor('tokenvault_worker'), 1), loginFields)
  return { ...vault, admin: await vault.connect(), newStore }
}

async function partitionsOf(client: pg.Client, parent: string): Promise<string[]> {
  const { rows } = await client.query(
    `SELECT relname FROM pg_inherits JOIN pg_class ON oid = inhrelid WHERE inhparent = $1::regclass ORDER BY relname`,
    [parent],
  )
  return rows.map(({ relname }) => relname)
}

const name = (table: string, text: string) => `${table}_${text.replaceAll('-', '_')}`
const monthOf = (text: string, ahead = 0) =>
  new Date(Date.UTC(Number(text.slice(0, 4)), Number(text.slice(5, 7)) - 1 + ahead)).toISOString().slice(0, 7)

t.test('partitions that 8 workers ask for at once are made once, the next month ahead of time', async t => {
  const { admin, connect } = await startStore(t)
  const days = [day(-1), day(), day(1)]
  const workers = await Promise.all(Array.from({ length: 8 }, () => connect('tokenvault_worker')))
  for (const _ of [1, 2]) {
    await Promise.all(workers.map(client => client.query('SELECT ingest.ensure_partitions($1)', [days])))
  }
  t.strictSame(
    await partitionsOf(admin, 'ingest.receipts'),
    days.map(text => name('receipts', text)),
  )
  const months = new Set(days.flatMap(text => [monthOf(text), monthOf(text, 1)]))
  t.strictSame(await partitionsOf(admin, 'public.user_logins'), [
    ...[...months].sort().map(text => name('user_logins', text)),
    'user_logins_default',
  ])
})

t.test('a partition has the indexes, the key and the owner of its table, and no grants', async t => {
  const { admin } = await startStore(t)
  await admin.query('SELECT ingest.ensure_partitions(ARRAY[current_date])')
  const { rows } = await admin.query(`SELECT count(*)::int AS partitions, count(indparent.inhparent)::int AS attached,
      count(DISTINCT relowner::regrole) AS owners, bool_or(coalesce(relacl::text ~ '(worker|api|analyst|auditor)', false)) AS granted
    FROM pg_inherits p JOIN pg_class ON oid = p.inhrelid JOIN pg_index ON indrelid = p.inhrelid
    LEFT JOIN pg_inherits indparent ON indparent.inhrelid = indexrelid
    WHERE p.inhparent IN ('ingest.receipts'::regclass, 'public.user_logins'::regclass)`)
  // One day, two months and the default partition: 1 + 2 × 3 indexes, every one attached to that of the table.
  t.match(rows, [{ partitions: 7, attached: 7, owners: '1', granted: false }])
})

t.test('a month whose rows the default partition already holds stays there, and ingestion goes on', async t => {
  const { admin, newStore, tokenizer } = await startStore(t)
  await admin.query(`INSERT INTO user_logins (user_id, create_date) VALUES ('early', $1)`, [day()])
  const stored = await newStore().storeMessages([messageOf('m-1', loginRow(tokenizer, 1))])
  t.match(stored, { rows: 1, quarantined: 0, duplicates: 0 })
  const { rows } = await admin.query(`SELECT DISTINCT tableoid::regclass::text AS partition FROM user_logins`)
  t.strictSame(rows, [{ partition: 'ingest.user_logins_default' }])
})

t.test('a dump that reads every table for hours stops neither a new day nor a new month', async t => {
  const { admin, newStore, tokenizer, connect } = await startStore(t)
  const dump = await connect()
  await dump.query('BEGIN; LOCK TABLE public.user_logins, ingest.receipts IN ACCESS SHARE MODE')
  const rows = [loginRow(tokenizer, 1), loginRow(tokenizer, 2, { createDate: day(-1) })]
  t.match(await newStore().storeMessages(rows.map((row, n) => messageOf(`m-${n}`, row))), { rows: 2 })
  t.strictSame(await partitionsOf(admin, 'public.user_logins'), ['user_logins_default'])
  t.equal((await partitionsOf(admin, 'ingest.receipts')).length, 2)
  await dump.query('ROLLBACK')
})

t.test('delivery records are dropped when no redelivery can meet them any more, and no day sooner', async t => {
  const { admin, connect } = await startStore(t)
  const old = [-31, -32, -60].map(day)
  const kept = [-30, -14, 0].map(day)
  for (const text of [...old, ...kept]) {
    await admin.query(
      `CREATE TABLE ingest.${name('receipts', text)} PARTITION OF ingest.receipts FOR VALUES FROM ('${text}') TO ('${text}'::date + 1)`,
    )
    await admin.query(`INSERT INTO ingest.receipts VALUES ('${text}', 'm', 1, 0)`)
  }
  const workers = await Promise.all([1, 2, 3].map(() => connect('tokenvault_worker')))
  // While somebody reads, nothing is dropped and nobody waits for it for long.
  const dump = await connect()
  await dump.query('BEGIN; LOCK TABLE ingest.receipts IN ACCESS SHARE MODE')
  t.match((await workers[0]!.query('SELECT ingest.drop_expired_delivery_records() AS dropped')).rows, [{ dropped: 0 }])
  await dump.query('ROLLBACK')
  const dropped = await Promise.all(
    workers.map(client => client.query('SELECT ingest.drop_expired_delivery_records() AS dropped')),
  )
  t.equal(
    dropped.reduce((sum, { rows }) => sum + rows[0].dropped, 0),
    3,
  )
  t.strictSame(
    await partitionsOf(admin, 'ingest.receipts'),
    kept.sort().map(text => name('receipts', text)),
  )
})

t.test('a server whose clock is fast drops no record that a redelivery may still meet', async t => {
  const { admin, connect } = await startStore(t)
  // The queue names the days. That its newest is 20 days ago looks just as a clock that is 20 days fast.
  const old = [-51, -80].map(day)
  const kept = [-50, -34, -20].map(day)
  for (const text of [...old, ...kept]) {
    await admin.query(
      `CREATE TABLE ingest.${name('receipts', text)} PARTITION OF ingest.receipts FOR VALUES FROM ('${text}') TO ('${text}'::date + 1)`,
    )
  }
  const worker = await connect('tokenvault_worker')
  const drop = 'SELECT ingest.drop_expired_delivery_records() AS dropped'
  t.strictSame((await worker.query(drop)).rows, [{ dropped: 2 }])
  t.strictSame(
    await partitionsOf(admin, 'ingest.receipts'),
    kept.map(text => name('receipts', text)),
  )
  await worker.query('SELECT ingest.ensure_partitions(ARRAY[current_date])')
  t.strictSame((await worker.query(drop)).rows, [{ dropped: 2 }], 'a day of today makes older ones expire')
})

t.test(
  'of two workers that drop expired days at once, the later finds them gone, whatever its isolation level',
  async t => {
    const vault = await createVaultDatabase(t)
    const admin = await vault.connect()
    const drop = 'SELECT ingest.drop_expired_delivery_records() AS dropped'
    await admin.query('SELECT ingest.ensure_partitions(ARRAY[current_date])')
    for (const isolation of ['READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE']) {
      await admin.query(`CREATE TABLE ingest.receipts_2001_01_01 PARTITION OF ingest.receipts
      FOR VALUES FROM ('2001-01-01') TO ('2001-01-02');
      ALTER TABLE ingest.receipts_2001_01_01 OWNER TO tokenvault_owner`)
      const [first, second] = [await vault.connect('tokenvault_worker'), await vault.connect('tokenvault_worker')]
      await second.query(`BEGIN ISOLATION LEVEL ${isolation}`)
      // Under the higher levels, what it will see is settled here.
      await second.query('SELECT 1')
      t.strictSame((await first.query(drop)).rows, [{ dropped: 1 }], isolation)
      t.strictSame((await second.query(drop)).rows, [{ dropped: 0 }], isolation)
      await second.query('COMMIT')
    }
  },
)
