import t, { type Test } from 'tap'
import { valueAt } from '../../src/crypto/byte-column.ts'
import { parseTypedToken } from '../../src/crypto/typed-token.ts'
import { startRun } from '../../src/ingest/batch/run.ts'
import { storeBatch } from '../../src/ingest/batch/store-batch.ts'
import type { LoginRow, ReceivedMessage, TokenizedMessage } from '../../src/ingest/ports.ts'
import { createLog } from '../../src/log.ts'
import { createFieldRecordWriter } from '../../src/store/fields.ts'
import { createIngestStore } from '../../src/store/ingest.ts'
import { createLedger } from '../../src/store/ledger.ts'
import { createOriginalReader } from '../../src/store/originals.ts'
import { checkLoginColumns } from '../../src/store/setup/login-columns.ts'
import { createFieldSchema, type FieldSchema } from '../../src/vault/fields/fields.ts'
import { describeField } from '../../src/vault/fields/recorded-fields.ts'
import { reconcile } from '../../src/vault/ledger/reconcile.ts'
import { openOriginals } from '../../src/vault/tokens/open-originals.ts'
import { createTokenizer } from '../../src/vault/tokens/tokenizer.ts'
import { createVaultDatabase } from '../helpers/postgres/vault-database.ts'
import { day, loginRow, messageOf } from '../helpers/queue/tokenized-messages.ts'

/** Both fields of logins with typed tokens, one in a column of its type and one in text, in whatever order. */
const ipTyped = createFieldSchema([
  { name: 'ip', rule: 'ip.v1', column: 'ip_token', format: 'inet' },
  { name: 'device_id', rule: 'device_id.v1', column: 'masked_device_id', format: 'uuid' },
])
const deviceTyped = createFieldSchema([
  { name: 'ip', rule: 'ip.v1', column: 'masked_ip', format: 'inet' },
  { name: 'device_id', rule: 'device_id.v1', column: 'device_token', format: 'uuid' },
])

async function startStore(t: Test, fields: FieldSchema) {
  const vault = await createVaultDatabase(t)
  const owner = await vault.connect()
  await owner.query('ALTER TABLE user_logins ADD COLUMN ip_token inet, ADD COLUMN device_token uuid')
  await createFieldRecordWriter(vault.database(undefined, 1)).recordFields([...fields.values()].map(describeField))
  const worker = vault.database('tokenvault_worker', 2)
  const tokenizer = createTokenizer(vault.keys, fields)
  return { ...vault, owner, worker, tokenizer, store: createIngestStore(worker, fields) }
}

for (const [title, fields] of [
  ['addresses in a column of inet, UUIDs in one of text', ipTyped],
  ['the other way round', deviceTyped],
] as const) {
  t.test(`typed tokens are stored, found, opened and reconciled: ${title}`, async t => {
    const { owner, worker, store, tokenizer, keys, database } = await startStore(t, fields)
    await t.resolves(checkLoginColumns(worker, fields))
    const rows = [1, 2, 3].map(n => loginRow(tokenizer, n))
    const withoutDevice: LoginRow = { ...loginRow(tokenizer, 4), tokens: [loginRow(tokenizer, 4).tokens[0]!, null] }
    const messages = [...rows, rows[0]!, withoutDevice].map((row, n) => messageOf(`m-${n}`, row))
    t.match(await store.storeMessages(messages), { rows: 5, duplicates: 0 })
    t.match(await store.storeMessages(messages), { rows: 0, duplicates: 5 })

    const [ip, device] = [...fields.values()].map(({ column }) => column!)
    const stored = await owner.query(
      `SELECT to_json(${ip}) AS ip, to_json(${device}) AS device FROM user_logins ORDER BY user_id`,
    )
    const expected = [rows[0]!, ...rows, withoutDevice].map(({ tokens }) => ({
      ip: tokens[0]!.token,
      device: tokens[1]?.token ?? null,
    }))
    t.same(stored.rows, expected, 'an address in a column of text has no /128')
    const token = rows[1]!.tokens[0]!.token
    t.match((await owner.query(`SELECT user_id FROM user_logins WHERE ${ip} = $1`, [token])).rows, [
      { user_id: 'user-2' },
    ])

    const originals = await createOriginalReader(database('tokenvault_api', 1)).findOriginals(
      [...rows, withoutDevice].flatMap(({ tokens }) =>
        tokens.flatMap(one => (one === null ? [] : [one.original.tokenId])),
      ),
    )
    t.equal(originals.size, 7)
    for (const { tokens } of rows) {
      const { token, original } = tokens[1]!
      t.equal(parseTypedToken(token)?.id, original.tokenId, 'the id is the token')
      const found = originals.get(original.tokenId)!
      t.equal(found.sivRest, original.sivRest)
      const [opened] = openOriginals(keys, fields.get('device_id')!, [{ id: original.tokenId, original: found }])
      t.match(opened, { value: /^593-47-\d$/ })
    }

    const ledger = createLedger(database('tokenvault_auditor', 1))
    t.match(await reconcile(ledger, fields), {
      isConsistent: true,
      unmatched: [],
      days: [{ rows: { recorded: 5, stored: 5 } }],
    })
    const { original } = rows[2]!.tokens[1]!
    await owner.query('DELETE FROM pii_vault.originals WHERE token_id = $1', [original.tokenId])
    await owner.query(`UPDATE user_logins SET ${device} = NULL WHERE user_id = 'user-2'`)
    t.match((await reconcile(ledger, fields)).unmatched, [
      { finding: 'token_without_original', field: 'device_id', count: 1 },
      { finding: 'original_without_token', field: 'device_id', count: 1 },
    ])
    const [text] = [ip, device].filter(column => column!.startsWith('masked'))
    const junk = ['fd00:::1', 'fd12::1/64', '59e1cfab-3892-4ebc-a82b-b68c0f8b8b0e', '', 'ip_v1_x']
    for (const value of junk)
      await owner.query(`INSERT INTO user_logins (user_id, create_date, ${text}) VALUES ('j', $1, $2)`, [day(), value])
    const { unmatched } = await reconcile(ledger, fields)
    const alone = unmatched.filter(({ finding }) => finding === 'token_without_original')
    t.equal(
      alone.reduce((sum, { count }) => sum + count, 0),
      junk.length + 1,
      'what has not the shape of a token has no original',
    )
  })
}

/** Puts the row of another value, whose token is equal, into the vault. */
async function insertColliding(t: Test, vault: Awaited<ReturnType<typeof startStore>>, row: LoginRow, place: number) {
  const { original } = row.tokens[place]!
  const other = vault.tokenizer.tokenizeValues(original.field, ['2001:db8::7'])[0]!
  if ('code' in other) throw new Error(other.code)
  await vault.owner.query(
    `INSERT INTO pii_vault.originals (token_id, field, token_key_version, data_key_version, sealed, siv_rest) VALUES ($1, $2, 1, 1, $3, $4)`,
    [original.tokenId, original.field, Buffer.from(other.original.sealed), original.sivRest! ^ 1],
  )
  t.equal((await vault.owner.query('SELECT FROM pii_vault.originals')).rowCount, 1)
}

t.test(
  'a value whose token is already that of another value is not stored, its message is named, and its neighbours are',
  async t => {
    for (const place of [0, 1]) {
      const vault = await startStore(t, ipTyped)
      const rows = [1, 2, 3, 4, 5].map(n => loginRow(vault.tokenizer, n))
      await insertColliding(t, vault, rows[2]!, place)
      const messages = rows.map((row, n) => messageOf(`m-${n}`, row))
      await t.rejects(vault.store.storeMessages(messages), { code: 'token_collision' })
      const count = async () =>
        (
          await vault.owner.query(`SELECT (SELECT count(*) FROM user_logins)::int AS rows,
      (SELECT count(*) FROM ingest.receipts)::int AS records, (SELECT count(*) FROM pii_vault.originals)::int AS originals`)
        ).rows[0]
      t.same(await count(), { rows: 0, records: 0, originals: 1 }, 'nothing of the transaction stays')

      const received = messages.map(({ messageId }): ReceivedMessage => {
        return { messageId, receiptHandle: 'r', body: messageId, sentAtMs: 0, receiveCount: 1, receivedAtMs: 0 }
      })
      const byId = new Map(messages.map(message => [message.messageId, message]))
      const run = startRun(1)
      const stored = await storeBatch(received, {
        tokenizeMessages: of => of.map(({ messageId }): TokenizedMessage => byId.get(messageId)!),
        store: vault.store,
        inFlight: { anyHidden: () => true },
        run,
        log: createLog('silent'),
      })
      run.end()
      t.same(
        stored.unstorable.map(({ messageId }) => messageId),
        ['m-2'],
      )
      t.match(stored, { firstFault: { code: 'token_collision' } }, 'the log says why')
      t.equal(stored.outcomes.get('m-2')?.kind, 'delay', 'it is not deleted: the queue makes a dead letter of it')
      t.same(await count(), { rows: 4, records: 4, originals: 9 })
    }
  },
)

t.test('two values of one batch with one token are refused, in one message and in two', async t => {
  const vault = await startStore(t, ipTyped)
  const row = loginRow(vault.tokenizer, 1)
  const [ip, device] = row.tokens
  const other = {
    ...row,
    tokens: [ip!, { ...device!, original: { ...device!.original, sivRest: device!.original.sivRest! ^ 1 } }],
  }
  await t.rejects(vault.store.storeMessages([messageOf('m-1', row), messageOf('m-2', other)]), {
    code: 'token_collision',
  })
  await t.rejects(vault.store.storeMessages([messageOf('m-1', row, { rows: [row, other] })]), {
    code: 'token_collision',
  })
  await t.resolves(vault.store.storeMessages([messageOf('m-1', row)]))
  await t.rejects(vault.store.storeMessages([messageOf('m-2', other)]), { code: 'token_collision' })
  await t.resolves(vault.store.storeMessages([messageOf('m-3', row)]), 'the same value is no other')
})

t.test('no value reaches Postgres in clear on the way', async t => {
  const vault = await startStore(t, ipTyped)
  const canary = 'canary-593-47'
  const made = vault.tokenizer.tokenizeValues('device_id', [canary])[0]!
  if ('code' in made) throw new Error(made.code)
  t.notOk(
    Buffer.from(
      valueAt({ bytes: made.original.sealed, offsets: Uint32Array.of(0, made.original.sealed.length) }, 0),
    ).includes(canary),
  )
  const row = loginRow(vault.tokenizer, 1)
  await vault.store.storeMessages([messageOf('m-1', { ...row, tokens: [row.tokens[0]!, made] })])
  const { rows } = await vault.owner.query(
    `SELECT o::text AS row FROM pii_vault.originals o UNION ALL SELECT u::text FROM user_logins u`,
  )
  t.equal(rows.length, 3)
  t.notOk(rows.some(({ row }) => row.includes('canary')))
})
