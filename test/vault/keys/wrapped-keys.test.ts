import { randomBytes } from 'node:crypto'
import { chmodSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { openLocalKek } from '../../../src/kms/local.ts'
import { loginFields } from '../../../src/vault/fields/fields.ts'
import { formatKeyName, type Keyset } from '../../../src/vault/keys/keyset.ts'
import { createMissingKeys, openKeyset } from '../../../src/vault/keys/wrapped-keys.ts'
import { MapKeys, threeFields } from '../../helpers/vault/vault-world.ts'

const vault = { tenant: 'default', fields: loginFields }
const loginKeys = [
  { purpose: 'token', field: 'ip', version: 1 },
  { purpose: 'data', field: 'ip', version: 1 },
  { purpose: 'token', field: 'device_id', version: 1 },
  { purpose: 'data', field: 'device_id', version: 1 },
  { purpose: 'quarantine', field: '', version: 1 },
  { purpose: 'audit', field: '', version: 1 },
  { purpose: 'signing', field: '', version: 1 },
] as const

function newKek(t: Test) {
  const path = join(t.testdir({}), 'kek')
  writeFileSync(path, randomBytes(32))
  chmodSync(path, 0o600)
  return openLocalKek(path)
}

function materials(keyset: Keyset): string[] {
  return loginKeys.map(name => keyset.find(name)!.material.export().toString('hex'))
}

t.test('the first run makes every key that the fields need, the second none', async t => {
  const kek = newKek(t)
  const keys = new MapKeys()
  const first = await createMissingKeys(keys, kek, vault)
  t.same(first.made, loginKeys.map(formatKeyName))
  for (const { purpose, field } of loginKeys) t.equal(first.keyset.primary(purpose, field).version, 1)
  t.equal(new Set(materials(first.keyset)).size, 7, 'no two alike')
  t.ok([...keys.stored.values()].every(({ kekId, status }) => kekId === kek.id && status === 'primary'))

  const second = await createMissingKeys(keys, kek, vault)
  t.same(second.made, [])
  t.same(materials(second.keyset), materials(first.keyset))
  t.same(materials(await openKeyset(keys, kek, 'default')), materials(first.keyset), 'openKeyset gives the same keys')
})

t.test('no key stands in clear in what is stored', async t => {
  const keys = new MapKeys()
  const { keyset } = await createMissingKeys(keys, newKek(t), vault)
  const stored = Buffer.concat([...keys.stored.values()].map(({ wrapped }) => wrapped)).toString('hex')
  t.notOk(materials(keyset).some(material => stored.includes(material.slice(0, 16))))
})

t.test('a new field gets its keys and the others keep theirs', async t => {
  const kek = newKek(t)
  const keys = new MapKeys()
  const first = await createMissingKeys(keys, kek, vault)
  const second = await createMissingKeys(keys, kek, { ...vault, fields: threeFields })
  t.same(second.made, ['token/email/v1', 'data/email/v1'])
  t.same(materials(second.keyset), materials(first.keyset))
})

t.test('twenty processes at once end with one keyset, and each key was made by one of them', async t => {
  const kek = newKek(t)
  const keys = new MapKeys()
  const results = await Promise.all(Array.from({ length: 20 }, () => createMissingKeys(keys, kek, vault)))
  t.equal(keys.stored.size, 7)
  t.equal(new Set(results.map(({ keyset }) => materials(keyset).join())).size, 1)
  t.same(results.flatMap(({ made }) => made).toSorted(), loginKeys.map(formatKeyName).toSorted())
})

t.test('a wrong KEK is refused, the key named, and nothing stored or changed', async t => {
  const [right, wrong] = [newKek(t), newKek(t)]
  const keys = new MapKeys()
  await createMissingKeys(keys, right, vault)
  const before = [...keys.stored]
  const refusal = {
    code: 'kek_mismatch',
    message: `key token/ip/v1 does not unwrap: it was wrapped by ${right.id}, this is ${wrong.id}`,
  }
  await t.rejects(openKeyset(keys, wrong, 'default'), refusal)
  await t.rejects(createMissingKeys(keys, wrong, { ...vault, fields: threeFields }), refusal)
  t.same([...keys.stored], before)
})

t.test('another TENANT is refused', async t => {
  const kek = newKek(t)
  const keys = new MapKeys()
  await createMissingKeys(keys, kek, vault)
  await t.rejects(openKeyset(keys, kek, 'other'), {
    code: 'kek_mismatch',
    message: 'key token/ip/v1 does not unwrap: it was changed, or TENANT is another',
  })
})

t.test('wrapped keys that were exchanged, renamed or altered in the table are refused', async t => {
  const kek = newKek(t)
  const table = async () => {
    const keys = new MapKeys()
    await createMissingKeys(keys, kek, vault)
    return keys
  }
  const change = (keys: MapKeys, name: string, changed: object) =>
    keys.stored.set(name, { ...keys.stored.get(name)!, ...changed })

  const swapped = await table()
  const { wrapped } = swapped.stored.get('token/ip/1')!
  change(swapped, 'token/ip/1', { wrapped: swapped.stored.get('token/device_id/1')!.wrapped })
  change(swapped, 'token/device_id/1', { wrapped })
  const mismatch = { code: 'kek_mismatch', message: /^key token\/ip\/v1 does not unwrap/ }
  await t.rejects(openKeyset(swapped, kek, 'default'), mismatch, 'two fields exchanged')

  for (const [title, changed] of Object.entries({
    'another purpose': { purpose: 'data', field: 'other' },
    'another field': { field: 'other' },
    'another version': { version: 2 },
    'no bytes': { wrapped: new Uint8Array() },
  })) {
    const keys = await table()
    change(keys, 'token/ip/1', changed)
    await t.rejects(openKeyset(keys, kek, 'default'), { code: 'kek_mismatch' }, title)
  }
})

t.test('a stored keyset that breaks its rules is refused', async t => {
  const kek = newKek(t)
  const keys = new MapKeys()
  await createMissingKeys(keys, kek, vault)
  keys.stored.set('again', keys.stored.get('audit//1')!)
  await t.rejects(openKeyset(keys, kek, 'default'), { code: 'keyset_invalid', message: /audit\/\/v1 stands twice/ })
})

t.test('a KEK that cannot be reached is not called a wrong KEK', async t => {
  const keys = new MapKeys()
  const kek = newKek(t)
  await createMissingKeys(keys, kek, vault)
  const failing = { ...kek, unwrap: () => Promise.reject(new Error('network')) }
  await t.rejects(openKeyset(keys, failing, 'default'), { message: 'network' })
})

t.test('a key that was lost is named and never made anew', async t => {
  const kek = newKek(t)
  for (const lost of loginKeys) {
    const keys = new MapKeys()
    await createMissingKeys(keys, kek, vault)
    const kept = keys.stored.size
    keys.stored.delete(`${lost.purpose}/${lost.field}/1`)
    keys.used.add('ip')
    keys.hasSigned = true
    const error = { code: 'keyset_incomplete', message: `key ${formatKeyName(lost)} was lost` }
    await t.rejects(createMissingKeys(keys, kek, vault), error)
    t.equal(keys.stored.size, kept - 1)
  }
})

t.test('a vault in use that lost all its keys gets no new ones, nor does a field that has originals', async t => {
  const kek = newKek(t)
  const keys = new MapKeys()
  keys.used.add('ip')
  await t.rejects(createMissingKeys(keys, kek, vault), { code: 'keyset_incomplete' })
  keys.used.clear()
  await createMissingKeys(keys, kek, vault)
  for (const purpose of ['token', 'data']) keys.stored.delete(`${purpose}/ip/1`)
  keys.used.add('ip')
  await t.rejects(createMissingKeys(keys, kek, vault), {
    code: 'keyset_incomplete',
    message: 'key token/ip/v1 was lost',
  })
})

t.test('a vault of before gets a signing key, unless it signed something with one', async t => {
  const kek = newKek(t)
  const keys = new MapKeys()
  const { keyset } = await createMissingKeys(keys, kek, vault)
  keys.stored.delete('signing//1')
  keys.used.add('ip')
  keys.hasSigned = true
  const error = { code: 'keyset_incomplete', message: 'key signing//v1 was lost' }
  await t.rejects(createMissingKeys(keys, kek, vault), error)
  keys.hasSigned = false
  const after = await createMissingKeys(keys, kek, vault)
  t.same(after.made, ['signing//v1'])
  t.equal(materials(after.keyset).slice(0, -1).join(), materials(keyset).slice(0, -1).join(), 'the others stay')
})
