import t from 'tap'
import { packBytes, unpackText } from '../../../src/crypto/byte-column.ts'
import { maxValueBytes, normalizeValue } from '../../../src/vault/fields/fields.ts'
import { FieldKeys } from '../../../src/vault/keys/field-keys.ts'
import { Keyset } from '../../../src/vault/keys/keyset.ts'
import { createTokenizer } from '../../../src/vault/tokens/tokenizer.ts'
import { createWorld, freshKeys, threeFields, tokenized, withStatus } from '../../helpers/vault/vault-world.ts'

t.test('values get tokens and sealed originals in input order, refused ones a code in their place', async t => {
  const { tokenizer, fieldKeys } = createWorld()
  const values = ['203.0.113.7', 'no address', '::ffff:203.0.113.7', '', '2001:DB8::1']
  const results = tokenizer.tokenizeValues('ip', values)
  t.same(
    results.map(result => ('token' in result ? 'token' : result.code)),
    ['token', 'value_invalid', 'token', 'value_invalid', 'token'],
  )
  t.equal(tokenized(results[0]).token, tokenized(results[2]).token, 'equal addresses, equal tokens')
  const originals = [0, 2, 4].map(index => tokenized(results[index]).original)
  t.ok(
    originals.every(
      ({ field, tokenKeyVersion, dataKeyVersion }) => `${field}${tokenKeyVersion}${dataKeyVersion}` === 'ip11',
    ),
  )
  const ids = originals.map(({ tokenId }) => tokenId)
  const unsealed = fieldKeys.sealer('data', 'ip', 1)!.open(packBytes(originals.map(({ sealed }) => sealed)), ids)
  t.same([...unsealed.authentic], [1, 1, 1])
  t.notOk(unpackText(unsealed.plaintexts).join().includes('203.0'), 'under the seal is a ciphertext')
  const { plaintexts } = fieldKeys.tokenKey('ip', 1)!.open(ids, unsealed.plaintexts)
  t.same(unpackText(plaintexts), ['203.0.113.7', '203.0.113.7', '2001:db8::1'], 'what is sealed is normalized')
  t.notOk(originals.some(({ sealed }) => Buffer.from(sealed).includes('203.0')))
})

t.test('a batch gives what one value at a time gives', async t => {
  const { tokenizer } = createWorld()
  const values = Array.from({ length: 500 }, (_, index) =>
    index % 7 === 0 ? '' : `device-${'é'.repeat(index % 70)}-${index}`,
  )
  t.same(
    tokenizer.tokenizeValues('device_id', values),
    values.flatMap(value => tokenizer.tokenizeValues('device_id', [value])),
  )
  t.same(tokenizer.tokenizeValues('ip', []), [])
})

t.test('the same value has another token in another field, another tenant and another vault', async t => {
  const keys = freshKeys()
  const token = (field: string, world = createWorld(keys)) => {
    return tokenized(world.tokenizer.tokenizeValues(field, ['203.0.113.7'])[0]).token.replace(/^.*_v1_/, '')
  }
  t.equal(token('ip'), token('ip'), 'but the same in every process that holds the keys')
  const others = [
    token('ip'),
    token('device_id'),
    token('ip', createWorld(keys, { tenant: 'other' })),
    token('ip', createWorld()),
  ]
  t.equal(new Set(others).size, 4)
})

t.test('length is counted in bytes of the normalized value', async t => {
  const field = threeFields.get('device_id')!
  const normalize = (value: string) => normalizeValue(field, value, threeFields)
  t.equal(normalize(` ${'x'.repeat(maxValueBytes)} `), 'x'.repeat(maxValueBytes))
  t.same(normalize('x'.repeat(maxValueBytes + 1)), { code: 'value_too_long' })
  t.same(normalize('é'.repeat(maxValueBytes / 2)), 'é'.repeat(maxValueBytes / 2))
  t.same(normalize(`${'é'.repeat(maxValueBytes / 2)}x`), { code: 'value_too_long' })
  t.same(normalize('e\u0301'.repeat(maxValueBytes / 2)), 'é'.repeat(maxValueBytes / 2), 'after composing')
})

t.test('a token is not a value, of whichever field it is and into whichever it is put', async t => {
  const { tokenizer } = createWorld()
  for (const source of ['ip', 'device_id']) {
    const { token } = tokenized(tokenizer.tokenizeValues(source, ['203.0.113.7'])[0])
    for (const field of threeFields.keys()) {
      for (const value of [token, ` ${token}\n`, `\ufeff${token}`, token.replace('_v1_', '_v7_')]) {
        t.same(tokenizer.tokenizeValues(field, [value]), [{ code: 'value_is_token' }], `${value} as ${field}`)
      }
    }
    for (const value of [
      token.slice(0, -10),
      `${token}=`,
      token.toUpperCase(),
      token.replace(source, 'phone'),
      `x ${token}`,
    ]) {
      t.match(tokenizer.tokenizeValues('device_id', [value]), [{ token: String }], `${value} is a text like others`)
    }
  }
})

t.test('an unknown field is refused, be its name what it may', async t => {
  const { tokenizer } = createWorld()
  for (const field of ['phone', '', '__proto__', 'constructor']) {
    t.throws(() => tokenizer.tokenizeValues(field, ['x']), { code: 'field_unknown' }, field)
  }
})

t.test('a tokenizer is not made from a keyset that lacks a primary key', async t => {
  for (const [purpose, field] of [
    ['token', 'ip'],
    ['data', 'email'],
  ]) {
    const keys = withStatus(freshKeys(), key =>
      key.purpose === purpose && key.field === field ? 'active' : key.status,
    )
    t.throws(
      () => createTokenizer(new FieldKeys(new Keyset(keys), 'default'), threeFields),
      { code: 'keyset_incomplete', message: `no primary key for ${purpose}/${field}` },
      `${purpose}/${field}`,
    )
  }
})
