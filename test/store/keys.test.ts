import t from 'tap'
import { openLocalKek } from '../../src/kms/local.ts'
import { createIngestStore } from '../../src/store/ingest.ts'
import { createKeyReader, createKeyWriter } from '../../src/store/keys.ts'
import { loginFields } from '../../src/vault/fields/fields.ts'
import { FieldKeys } from '../../src/vault/keys/field-keys.ts'
import type { WrappedKey } from '../../src/vault/keys/ports.ts'
import { createMissingKeys, openKeyset } from '../../src/vault/keys/wrapped-keys.ts'
import type { TokenizedValue } from '../../src/vault/tokens/ports.ts'
import { createTokenizer } from '../../src/vault/tokens/tokenizer.ts'
import { createVaultDatabase, testTenant } from '../helpers/postgres/vault-database.ts'

const key = (changes: Partial<WrappedKey> = {}): WrappedKey => ({
  purpose: 'token',
  field: 'other',
  version: 1,
  status: 'active',
  kekId: 'kek',
  wrapped: Buffer.from('first'),
  ...changes,
})
/** New keys stand under the KEK of the others. */
const kekOf = (keys: readonly WrappedKey[]) => ({ kekId: keys[0]!.kekId })
const all = (keys: readonly WrappedKey[]) =>
  keys.map(({ wrapped, ...rest }) => ({ ...rest, wrapped: Buffer.from(wrapped) }))

t.test('a key that is there is never replaced, and one that is not is added', async t => {
  const vault = await createVaultDatabase(t)
  const writer = createKeyWriter(vault.database())
  const before = await writer.readKeys()
  const kek = kekOf(before)
  await writer.insertKeys([key(kek)])
  await writer.insertKeys([
    key({ ...kek, wrapped: Buffer.from('second'), status: 'primary' }),
    key({ ...kek, version: 2 }),
  ])
  await writer.insertKeys([])
  const after = await createKeyReader(vault.database('tokenvault_api')).readKeys()
  t.strictSame(
    all(after.filter(({ field }) => field === 'other')),
    all([key(kek), key({ ...kek, version: 2 })].map(({ wrapped, ...rest }) => ({ ...rest, isMoving: false, wrapped }))),
  )
  t.strictSame(all(after.filter(({ field }) => field !== 'other')), all(before))
})

t.test('a second primary is refused, with everything else of the call', async t => {
  const vault = await createVaultDatabase(t)
  const writer = createKeyWriter(vault.database())
  const before = await writer.readKeys()
  await t.rejects(
    writer.insertKeys([key(kekOf(before)), key({ ...kekOf(before), field: 'ip', version: 2, status: 'primary' })]),
    {
      code: 'store_refused',
      message: 'the database answered: SQLSTATE 23505',
    },
  )
  t.strictSame(all(await writer.readKeys()), all(before))
})

t.test('roles that read keys cannot add one', async t => {
  const vault = await createVaultDatabase(t)
  for (const role of ['tokenvault_worker', 'tokenvault_api'] as const) {
    const writer = createKeyWriter(vault.database(role))
    t.equal((await writer.readKeys()).length, 7)
    await t.rejects(writer.insertKeys([key()]), { code: 'store_misconfigured', message: /SQLSTATE 42501$/ })
  }
})

t.test('ten processes that make the first keys at once end with one keyset, the same for all', async t => {
  const vault = await createVaultDatabase(t)
  await (await vault.connect()).query('DELETE FROM pii_vault.keys')
  const kek = openLocalKek(vault.kekFile)
  const options = { tenant: testTenant, fields: loginFields }
  const results = await Promise.all(
    Array.from({ length: 10 }, () => createMissingKeys(createKeyWriter(vault.database(undefined, 1)), kek, options)),
  )
  t.strictSame(results.flatMap(({ made }) => made).sort(), [
    'audit//v1',
    'data/device_id/v1',
    'data/ip/v1',
    'quarantine//v1',
    'signing//v1',
    'token/device_id/v1',
    'token/ip/v1',
  ])
  const reopened = await openKeyset(createKeyReader(vault.database('tokenvault_worker')), kek, testTenant)
  const tokens = [...results.map(({ keyset }) => keyset), reopened].map(keyset =>
    createTokenizer(new FieldKeys(keyset, testTenant), loginFields).tokenizeValues('ip', ['203.0.113.7']),
  )
  for (const token of tokens) t.strictSame(token, tokens[0])
})

t.test('what is stored tells that keys were in use, so that a lost one is not made anew', async t => {
  const vault = await createVaultDatabase(t)
  const database = vault.database()
  const writer = createKeyWriter(database)
  t.equal(await writer.hasContent(), false)
  t.equal(await writer.hasContent('ip'), false)
  const [ip] = vault.tokenizer.tokenizeValues('ip', ['192.0.2.1'])
  const message = { messageId: 'm', sentOn: new Date().toISOString().slice(0, 10), quarantined: [] }
  const row = { userId: 'u', deviceType: 'ios', locale: null, appVersion: 1, createDate: message.sentOn }
  const tokens = [ip, vault.tokenizer.tokenizeValues('device_id', ['d'])[0]] as TokenizedValue[]
  await createIngestStore(vault.database('tokenvault_worker'), loginFields).storeMessages([
    { ...message, rows: [{ ...row, tokens }] },
  ])
  t.equal(await writer.hasContent(), true)
  t.equal(await writer.hasContent('ip'), true)
  t.equal(await writer.hasContent('email'), false)

  await database.deleteFrom('pii_vault.keys').where('purpose', '=', 'token').where('field', '=', 'ip').execute()
  const kek = openLocalKek(vault.kekFile)
  await t.rejects(createMissingKeys(writer, kek, { tenant: testTenant, fields: loginFields }), {
    code: 'keyset_incomplete',
    message: 'key token/ip/v1 was lost',
  })
})

t.test('a stored checkpoint tells that something was signed', async t => {
  const vault = await createVaultDatabase(t)
  const writer = createKeyWriter(vault.database())
  t.equal(await writer.hasCheckpoints(), false)
  await (await vault.connect()).query(`INSERT INTO pii_vault.checkpoints (tree_size, note) VALUES (0, 'note')`)
  t.equal(await writer.hasCheckpoints(), true)
  t.equal(await writer.hasContent(), true)
})
