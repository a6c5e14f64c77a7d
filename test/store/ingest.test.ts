import t, { type Test } from 'tap'
import type { TokenizedMessage } from '../../src/ingest/ports.ts'
import { createIngestStore, readLogins } from '../../src/store/ingest.ts'
import { loginFields } from '../../src/vault/fields/fields.ts'
import { startDatabaseProxy } from '../helpers/postgres/database-proxy.ts'
import { createVaultDatabase, openDatabase } from '../helpers/postgres/vault-database.ts'
import { day, loginRow, messageOf, quarantinedMessage } from '../helpers/queue/tokenized-messages.ts'

async function startStore(t: Test) {
  const vault = await createVaultDatabase(t)
  const admin = await vault.connect()
  const newStore = (url = vault.urlFor('tokenvault_worker')) => createIngestStore(openDatabase(t, url, 1), loginFields)
  const count = async () => {
    const { rows } = await admin.query(`SELECT (SELECT count(*) FROM user_logins)::int AS rows,
      (SELECT count(*) FROM ingest.receipts)::int AS "deliveryRecords", (SELECT count(*) FROM pii_vault.originals)::int AS originals,
      (SELECT count(*) FROM pii_vault.quarantine)::int AS quarantined`)
    return rows[0]
  }
  return { ...vault, admin, count, newStore, store: newStore() }
}

const nothing = { rows: 0, deliveryRecords: 0, originals: 0, quarantined: 0 }
const month = (text: string) => text.slice(0, 7).replace('-', '_')

t.test('a message takes effect once, also when it is delivered again after midnight', async t => {
  const { store, newStore, tokenizer, sealQuarantined, count, admin } = await startStore(t)
  // Sent yesterday, stored then by one process and today by another.
  const messages = [
    messageOf('m-1', loginRow(tokenizer, 1, { createDate: day(-1) })),
    messageOf('m-2', loginRow(tokenizer, 1, { createDate: day(-1) })),
    quarantinedMessage(sealQuarantined, 'm-3'),
    messageOf('m-4', loginRow(tokenizer, 2), { rows: [loginRow(tokenizer, 2), loginRow(tokenizer, 3)] }),
  ]
  t.match(await store.storeMessages(messages), { rows: 4, quarantined: 1, duplicates: 0 })
  t.match(await newStore().storeMessages(messages), { rows: 0, quarantined: 0, duplicates: 4 })
  t.match(await newStore().storeMessages([...messages, messageOf('m-5', loginRow(tokenizer, 1))]), {
    rows: 1,
    quarantined: 0,
    duplicates: 4,
  })
  t.strictSame(
    await count(),
    { rows: 5, deliveryRecords: 5, originals: 6, quarantined: 1 },
    'equal values have one original',
  )
  const { rows } = await admin.query(
    `SELECT message_id, rows_stored, rows_quarantined FROM ingest.receipts ORDER BY message_id`,
  )
  t.strictSame(
    rows.map(row => Object.values(row)),
    [
      ['m-1', 1, 0],
      ['m-2', 1, 0],
      ['m-3', 0, 1],
      ['m-4', 2, 0],
      ['m-5', 1, 0],
    ],
    'days reconcile',
  )
})

t.test('a row is stored as it was given, in the partition of its month', async t => {
  const { store, tokenizer, admin } = await startStore(t)
  const rows = [
    loginRow(tokenizer, 3),
    loginRow(tokenizer, 4, { createDate: day(-29) }),
    loginRow(tokenizer, 5, { deviceType: null, locale: null, appVersion: null }),
  ]
  await store.storeMessages(rows.map((row, n) => messageOf(`m-${n}`, row)))
  const stored =
    await admin.query(`SELECT tableoid::regclass::text AS partition, user_id, device_type, locale, app_version,
    masked_ip, masked_device_id, create_date::text FROM user_logins ORDER BY user_id`)
  t.strictSame(
    stored.rows,
    rows.map(({ tokens, ...row }) => ({
      partition: `ingest.user_logins_${month(row.createDate)}`,
      user_id: row.userId,
      device_type: row.deviceType,
      locale: row.locale,
      app_version: row.appVersion,
      masked_ip: tokens[0]!.token,
      masked_device_id: tokens[1]!.token,
      create_date: row.createDate,
    })),
  )
})

t.test('8 workers with the same messages and tokens in different orders store each once, with no deadlock', async t => {
  const { newStore, tokenizer, count } = await startStore(t)
  // 400 messages, 40 addresses and devices.
  const messages = Array.from({ length: 400 }, (_, n) => messageOf(`m-${n}`, loginRow(tokenizer, n % 40)))
  const counts = await Promise.all(
    Array.from({ length: 8 }, async () => {
      const store = newStore()
      const shuffled = messages.toSorted(() => Math.random() - 0.5)
      const sum = { rows: 0, duplicates: 0 }
      for (let start = 0; start < shuffled.length; start += 50) {
        const stored = await store.storeMessages(shuffled.slice(start, start + 50))
        sum.rows += stored.rows
        sum.duplicates += stored.duplicates
      }
      return sum
    }),
  )
  t.equal(
    counts.reduce((sum, { rows }) => sum + rows, 0),
    400,
  )
  t.equal(
    counts.reduce((sum, { duplicates }) => sum + duplicates, 0),
    7 * 400,
  )
  t.strictSame(await count(), { rows: 400, deliveryRecords: 400, originals: 80, quarantined: 0 })
})

t.test(
  '8 workers whose different messages hold the same new tokens store one original each, with no deadlock',
  async t => {
    const { newStore, tokenizer, count } = await startStore(t)
    const stores = Array.from({ length: 8 }, () => newStore())
    for (let round = 0; round < 5; round++) {
      const rows = Array.from({ length: 100 }, (_, n) => loginRow(tokenizer, round * 100 + n))
      await Promise.all(
        stores.map((store, worker) => {
          const shuffled = rows.toSorted(() => Math.random() - 0.5)
          return store.storeMessages(shuffled.map(row => messageOf(`${worker}/${row.userId}`, row)))
        }),
      )
    }
    t.strictSame(await count(), { rows: 4000, deliveryRecords: 4000, originals: 1000, quarantined: 0 })
  },
)

t.test('one row that the database refuses takes back everything of its batch', async t => {
  const { store, tokenizer, sealQuarantined, count } = await startStore(t)
  const good = messageOf('good', loginRow(tokenizer, 1))
  const bad = messageOf('bad', loginRow(tokenizer, 2, { userId: 'x'.repeat(129) }))
  const other = quarantinedMessage(sealQuarantined, 'other')
  await t.rejects(store.storeMessages([good, bad, other]), { code: 'store_refused', message: /SQLSTATE 22001$/ })
  t.strictSame(await count(), nothing)
  t.match(await store.storeMessages([good, other]), { rows: 1, quarantined: 1, duplicates: 0 })
})

t.test('a day that no queue can still hold is refused, and nothing of it stored', async t => {
  const { store, tokenizer, count } = await startStore(t)
  for (const createDate of [day(-40), day(40)]) {
    const messages = [
      messageOf('m-1', loginRow(tokenizer, 1)),
      messageOf('m-2', loginRow(tokenizer, 2, { createDate })),
    ]
    await t.rejects(store.storeMessages(messages), { code: 'store_refused', message: /SQLSTATE 22008$/ })
  }
  t.strictSame(await count(), nothing)
})

t.test('a batch without messages stores nothing', async t => {
  const { store } = await startStore(t)
  t.match(await store.storeMessages([]), { rows: 0, quarantined: 0, duplicates: 0 })
})

t.test('thousands of events in one message are stored in one transaction', async t => {
  const { store, tokenizer, sealQuarantined, count } = await startStore(t)
  const quarantined = sealQuarantined(Array(12_000).fill('no event')).map((sealed, eventIndex) => ({
    ...sealed,
    eventIndex,
    reason: 'event_not_object',
  }))
  const row = loginRow(tokenizer, 1)
  const message: TokenizedMessage = { ...messageOf('m-1', row), rows: Array(12_000).fill(row), quarantined }
  t.match(await store.storeMessages([message]), { rows: 12_000, quarantined: 12_000, duplicates: 0 })
  t.strictSame(await count(), { rows: 12_000, deliveryRecords: 1, originals: 2, quarantined: 12_000 })
})

t.test(
  'a connection that is killed in the middle of a transaction leaves nothing, and the next call works',
  async t => {
    const { store, tokenizer, count, admin, connect } = await startStore(t)
    const messages = [messageOf('m-1', loginRow(tokenizer, 1))]
    const blocker = await connect()
    await blocker.query('BEGIN; LOCK TABLE pii_vault.originals IN EXCLUSIVE MODE')
    const storing = t.rejects(store.storeMessages(messages), { code: 'store_unavailable', message: /SQLSTATE 57P01$/ })
    let killed = 0
    while (killed === 0) {
      const { rowCount } = await admin.query(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity
      WHERE usename = 'tokenvault_worker' AND wait_event_type = 'Lock' AND datname = current_database()`)
      killed = rowCount ?? 0
    }
    await storing
    await blocker.query('ROLLBACK')
    t.strictSame(await count(), nothing)
    t.match(await store.storeMessages(messages), { rows: 1, quarantined: 0, duplicates: 0 })
  },
)

t.test('a commit whose answer is lost is reported, and storing the same again adds nothing', async t => {
  const { newStore, tokenizer, sealQuarantined, count, urlFor } = await startStore(t)
  const proxy = await startDatabaseProxy(t, urlFor('tokenvault_worker'))
  const store = newStore(proxy.url)
  const messages = [messageOf('m-1', loginRow(tokenizer, 1)), quarantinedMessage(sealQuarantined, 'm-2')]
  proxy.cutAnswerTo('commit')
  await t.rejects(store.storeMessages(messages), {
    code: 'store_unavailable',
    message: 'the database answered: connection lost',
  })
  t.match(await store.storeMessages(messages), { rows: 0, quarantined: 0, duplicates: 2 })
  t.strictSame(await count(), { rows: 1, deliveryRecords: 2, originals: 2, quarantined: 1 })
})

t.test('an analyst reads rows in the order of columns that was promised, days as they are written', async t => {
  const vault = await createVaultDatabase(t)
  const row = loginRow(vault.tokenizer, 3)
  const store = createIngestStore(vault.database('tokenvault_worker'), loginFields)
  await store.storeMessages([messageOf('m-1', row), messageOf('m-2', row)])
  const analyst = vault.database('tokenvault_analyst')
  t.equal((await readLogins(analyst, 1)).length, 1)
  const rows = await readLogins(analyst, 10)
  const expected = {
    user_id: 'user-3',
    device_type: 'android',
    masked_ip: row.tokens[0]!.token,
    masked_device_id: row.tokens[1]!.token,
    locale: null,
    app_version: 2,
    create_date: row.createDate,
  }
  t.strictSame(rows, [expected, expected])
  t.strictSame(Object.keys(rows[0]!), Object.keys(expected))
  await t.rejects(readLogins(vault.database('tokenvault_api'), 1), { code: 'store_misconfigured' })
})
