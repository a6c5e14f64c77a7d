import type { PluginTransformQueryArgs, PluginTransformResultArgs } from 'kysely'
import t from 'tap'
import { createIngestStore } from '../../src/store/ingest.ts'
import { createFieldOriginals, createOriginalReader } from '../../src/store/originals.ts'
import { loginFields } from '../../src/vault/fields/fields.ts'
import { createVaultDatabase } from '../helpers/postgres/vault-database.ts'
import { loginRow, messageOf } from '../helpers/queue/tokenized-messages.ts'

t.test('what the worker stored is what the API finds, and absent ids are absent', async t => {
  const vault = await createVaultDatabase(t)
  const row = loginRow(vault.tokenizer, 1)
  const store = createIngestStore(vault.database('tokenvault_worker'), loginFields)
  await store.storeMessages([messageOf('m-1', row)])
  const reader = createOriginalReader(vault.database('tokenvault_api'))
  const [ip, device] = row.tokens.map(value => value?.original)
  const found = await reader.findOriginals([ip!.tokenId, 'f'.repeat(32), device!.tokenId, ip!.tokenId])
  t.equal(found.size, 2)
  for (const original of [ip!, device!]) {
    const { sealed, ...rest } = found.get(original.tokenId)!
    const expected = { ...original, sealed: Buffer.from(original.sealed), sivRest: null }
    t.strictSame({ ...rest, sealed: Buffer.from(sealed) }, expected)
  }
  t.equal((await reader.findOriginals([])).size, 0)
})

t.test('10,000 ids are found in one call', async t => {
  const vault = await createVaultDatabase(t)
  await (await vault.connect()).query(`INSERT INTO pii_vault.originals
    SELECT lpad(to_hex(n), 32, '0')::uuid, 'ip', 1, 1, int4send(n) FROM generate_series(1, 10000) AS n`)
  const ids = Array.from({ length: 10_000 }, (_, n) => (n + 5001).toString(16).padStart(32, '0'))
  const found = await createOriginalReader(vault.database('tokenvault_api')).findOriginals(ids)
  t.equal(found.size, 5000)
  t.ok(
    [...found].every(
      ([id, { tokenId, sealed }]) => id === tokenId && Buffer.from(sealed).readInt32BE() === Number(`0x${id}`),
    ),
  )
})

t.test('what is no token id is refused, and never mixed into the statement', async t => {
  const vault = await createVaultDatabase(t)
  const reader = createOriginalReader(vault.database('tokenvault_api'))
  for (const id of ['', 'not-hex', `${'0'.repeat(32)}'); drop table x; --`, '{}', 'NULL']) {
    await t.rejects(reader.findOriginals([id]), {
      code: 'store_refused',
      message: 'the database answered: SQLSTATE 22P02',
      cause: undefined,
    })
  }
})

t.test('callers at once share statements, and each gets what it asked for and nothing else', async t => {
  const vault = await createVaultDatabase(t)
  await (await vault.connect()).query(`INSERT INTO pii_vault.originals
    SELECT lpad(to_hex(n), 32, '0')::uuid, 'ip', 1, 1, int4send(n) FROM generate_series(1, 3000) AS n`)
  const idOf = (n: number) => n.toString(16).padStart(32, '0')
  const reader = createOriginalReader(vault.database('tokenvault_api'))
  const asked = Array.from({ length: 300 }, (_, call) => {
    // Some calls are large, some ask for what others ask for, some for what is not there.
    const size = call % 50 === 0 ? 900 : 1 + (call % 3)
    return Array.from({ length: size }, (_, index) => 1 + ((call * 11 + index) % 4000))
  })
  const found = await Promise.all(asked.map(numbers => reader.findOriginals(numbers.map(idOf))))
  for (const [call, numbers] of asked.entries()) {
    const expected = [...new Set(numbers.filter(n => n <= 3000))]
    t.strictSame(new Set(found[call]!.keys()), new Set(expected.map(idOf)))
  }
})

t.test('calls of one turn of the event loop are one statement, and what comes meanwhile is the next', async t => {
  const vault = await createVaultDatabase(t)
  let statements = 0
  const counting = {
    transformQuery({ node }: PluginTransformQueryArgs) {
      statements++
      return node
    },
    transformResult: async ({ result }: PluginTransformResultArgs) => result,
  }
  const reader = createOriginalReader(vault.database('tokenvault_api').withPlugin(counting))
  const ask = (count: number) =>
    Array.from({ length: count }, (_, n) => reader.findOriginals([n.toString(16).padStart(32, '0')]))
  await Promise.all(ask(20))
  t.equal(statements, 1)
  const first = ask(20)
  await new Promise(setImmediate)
  await Promise.all([...first, ...ask(20)])
  t.equal(statements, 3)
})

t.test('a statement that fails fails for all who share it, and the next one works', async t => {
  const vault = await createVaultDatabase(t)
  const admin = await vault.connect()
  const reader = createOriginalReader(vault.database('tokenvault_api'))
  await admin.query('ALTER TABLE pii_vault.originals RENAME TO elsewhere')
  const outcomes = await Promise.allSettled(
    Array.from({ length: 20 }, (_, n) => reader.findOriginals([n.toString(16).padStart(32, '0')])),
  )
  t.ok(outcomes.every(({ status }) => status === 'rejected'))
  await admin.query('ALTER TABLE pii_vault.elsewhere RENAME TO originals')
  t.equal((await reader.findOriginals(['0'.repeat(32)])).size, 0)
})

t.test(
  'originals of a field come in pages, in descending order of token id, and those of other fields never',
  async t => {
    const vault = await createVaultDatabase(t)
    const admin = await vault.connect()
    await admin.query(`INSERT INTO pii_vault.originals (token_id, field, token_key_version, data_key_version, sealed)
    SELECT md5(n::text)::uuid, CASE n % 3 WHEN 0 THEN 'ip' WHEN 1 THEN 'device_id' ELSE 'email' END, 1, 1 + n % 2, int4send(n)
    FROM generate_series(1, 3000) AS n`)
    const originals = createFieldOriginals(vault.database('tokenvault_api'))
    const { rows } = await admin.query<{ id: string }>(
      `SELECT replace(token_id::text, '-', '') AS id FROM pii_vault.originals WHERE field = 'ip' ORDER BY token_id DESC`,
    )
    const expected = rows.map(({ id }) => id)
    for (const limit of [1, 333, 999, 1000, 1001, 10_000]) {
      const first = await originals.listOriginals('ip', { limit })
      const second =
        first.length < limit ? [] : await originals.listOriginals('ip', { before: first.at(-1)!.tokenId, limit })
      const listed = [...first, ...second]
      t.ok(listed.every(({ field }) => field === 'ip'))
      t.strictSame(
        listed.map(({ tokenId }) => tokenId),
        expected.slice(0, limit * 2),
        `${limit} a page`,
      )
    }
    const [one] = await originals.listOriginals('ip', { limit: 1 })
    t.strictSame(
      await createOriginalReader(vault.database('tokenvault_api')).findOriginals([one!.tokenId]),
      new Map([[one!.tokenId, one]]),
      'the same row as by its id',
    )
    for (const field of ['nope', '', "ip'; drop table x; --"])
      t.strictSame(await originals.listOriginals(field, { limit: 10 }), [], field)
    await t.rejects(originals.listOriginals('ip', { before: 'not-hex', limit: 1 }), {
      code: 'store_refused',
      message: 'the database answered: SQLSTATE 22P02',
    })
  },
)
