import t from 'tap'
import { packBytes, packText, unpackText } from '../../../src/crypto/byte-column.ts'
import { FieldKeys } from '../../../src/vault/keys/field-keys.ts'
import { generateKey, Keyset } from '../../../src/vault/keys/keyset.ts'
import type { SealedOriginal } from '../../../src/vault/tokens/ports.ts'
import { type DataKey, resealOriginals } from '../../../src/vault/tokens/reseal.ts'
import { everyBitFlipped } from '../../helpers/crypto/bytes.ts'
import { createWorld, freshKeys, investigator, MapOriginals, withStatus } from '../../helpers/vault/vault-world.ts'

const values = ['203.0.113.7', '2001:db8::1', '198.51.100.23']

/** A vault of one data key, and the keys of its re-sealing: none of them a token key. */
function setUp() {
  const first = freshKeys()
  const originals = new MapOriginals()
  const world = createWorld(first, { originals })
  const tokens = world.store('ip', values)
  const second = generateKey({ purpose: 'data', field: 'ip', version: 2 }, 'primary')
  const rotated = [
    ...withStatus(first, ({ purpose, field, status }) => (purpose === 'data' && field === 'ip' ? 'active' : status)),
    second,
  ]
  const withoutTokenKeys = new FieldKeys(new Keyset(rotated.filter(({ purpose }) => purpose !== 'token')), 'default')
  const dataKey = (version: number): DataKey => {
    return { version, sealer: withoutTokenKeys.sealer('data', 'ip', version)! }
  }
  return { first, rotated, originals, tokens, withoutTokenKeys, rows: [...originals.rows.values()], dataKey }
}

type World = ReturnType<typeof createWorld>

async function valuesOf(world: World, tokens: readonly string[]): Promise<string[]> {
  const asked = { requestId: 'request-1', purpose: 'fraud_investigation', atomic: false, tokens }
  const result = await world.detokenize(investigator, asked)
  if (result.outcome !== 'complete') throw new Error(result.outcome)
  return result.items.map(item => ('value' in item ? item.value : item.error.code))
}

function resealedOf(results: ReturnType<typeof resealOriginals>): SealedOriginal[] {
  return results.map(result => {
    if ('code' in result) throw new Error(result.code)
    return result
  })
}

t.test('re-sealing has no token key and sees no value; afterwards tokens open as before', async t => {
  const { first, rotated, originals, tokens, withoutTokenKeys, rows, dataKey } = setUp()
  t.equal(withoutTokenKeys.tokenKey('ip', 1), undefined, 'the keys that re-sealing has hold no token key')
  const resealed = resealedOf(resealOriginals(rows, dataKey(1), dataKey(2)))
  t.strictSame(
    resealed.map(({ sealed, dataKeyVersion, ...rest }) => rest),
    rows.map(({ sealed, dataKeyVersion, ...rest }) => rest),
    'the same tokens, under the same token key',
  )
  t.ok(resealed.every(({ dataKeyVersion }) => dataKeyVersion === 2))
  t.notOk(resealed.some(({ sealed }, index) => Buffer.compare(sealed, rows[index]!.sealed) === 0))
  const ids = resealed.map(({ tokenId }) => tokenId)
  const underSeal = dataKey(2).sealer.open(packBytes(resealed.map(({ sealed }) => sealed)), ids)
  t.same([...underSeal.authentic], [1, 1, 1])
  const seen = Buffer.from(underSeal.plaintexts.bytes)
  t.notOk(
    values.some(value => seen.includes(value)),
    'under the seal are ciphertexts and no value',
  )

  for (const original of resealed) originals.rows.set(original.tokenId, original)
  t.same(await valuesOf(createWorld(rotated, { originals }), tokens), values)
  const withoutOld = rotated.filter(({ purpose, version }) => purpose !== 'data' || version === 2)
  const others = freshKeys().filter(({ purpose, field }) => purpose === 'data' && field !== 'ip')
  t.same(
    await valuesOf(createWorld([...withoutOld, ...others], { originals }), tokens),
    values,
    'the old data key is needed no more',
  )
  t.same(
    await valuesOf(createWorld(first, { originals }), tokens),
    values.map(() => 'key_unavailable'),
    'nor does it open anything',
  )
})

t.test('a row that was changed is not re-sealed, and its neighbours are', async t => {
  const { rows, dataKey } = setUp()
  const [a, b, c] = rows as [SealedOriginal, SealedOriginal, SealedOriginal]
  const refused = { code: 'original_not_authentic' }
  for (const forged of [
    ...everyBitFlipped(b.sealed),
    new Uint8Array(),
    b.sealed.subarray(0, 15),
    b.sealed.subarray(1),
  ]) {
    const results = resealOriginals([a, { ...b, sealed: forged }, c], dataKey(1), dataKey(2))
    t.strictSame(results[1], refused)
    t.match([results[0], results[2]], [{ tokenId: a.tokenId, dataKeyVersion: 2 }, { tokenId: c.tokenId }])
  }
  const swapped = [
    { ...a, sealed: b.sealed },
    { ...b, sealed: a.sealed },
    { ...c, tokenId: a.tokenId },
  ]
  t.strictSame(resealOriginals(swapped, dataKey(1), dataKey(2)), [refused, refused, refused], 'rows exchanged')
})

t.test('originals of another field, tenant or data key do not get under the new one', async t => {
  const { first, rows, dataKey } = setUp()
  const refused = rows.map(() => ({ code: 'original_not_authentic' }))
  const sealerOf = (tenant: string, field: string) => new FieldKeys(new Keyset(first), tenant).sealer('data', field, 1)!
  t.strictSame(resealOriginals(rows, { version: 1, sealer: sealerOf('default', 'email') }, dataKey(2)), refused)
  t.strictSame(resealOriginals(rows, { version: 1, sealer: sealerOf('other', 'ip') }, dataKey(2)), refused)
  t.throws(() => resealOriginals(rows, dataKey(2), dataKey(1)), RangeError, 'the versions are those of the rows')
  t.strictSame(resealOriginals([], dataKey(1), dataKey(2)), [])
})

t.test('a ciphertext that never was one is re-sealed, and still opens nothing', async t => {
  const { rotated, originals, tokens, rows, dataKey } = setUp()
  const [row] = rows
  // Whoever holds the data key can seal anything; that value and token belong together is what the token key proves.
  const planted = { ...row!, sealed: dataKey(1).sealer.seal(packText(['203.0.113.9']), [row!.tokenId]).bytes }
  const [resealed] = resealedOf(resealOriginals([planted], dataKey(1), dataKey(2)))
  t.same(unpackText(dataKey(2).sealer.open(packBytes([resealed!.sealed]), [row!.tokenId]).plaintexts), ['203.0.113.9'])
  originals.rows.set(row!.tokenId, resealed!)
  t.same(await valuesOf(createWorld(rotated, { originals }), tokens.slice(0, 1)), ['original_not_authentic'])
})
