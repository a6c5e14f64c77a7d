import { aessiv } from '@noble/ciphers/aes.js'
import fc from 'fast-check'
import t from 'tap'
import { createAesSiv } from '../../src/crypto/aes-siv.ts'
import { encodeBinding } from '../../src/crypto/associated-data.ts'
import { packBytes, packText, unpackText, valueAt } from '../../src/crypto/byte-column.ts'
import { maxTokenLength, parseToken, TokenKey, tokenLabel } from '../../src/crypto/token.ts'
import { textSpelling } from '../../src/crypto/typed-token.ts'
import { maxValueBytes } from '../../src/vault/fields/fields.ts'
import { columnToHex, everyBitFlipped } from '../helpers/crypto/bytes.ts'
import { aesSivKey, checkProperty, unicodeText } from '../helpers/crypto/property.ts'

const key = Uint8Array.from({ length: 64 }, (_, index) => index)
const binding = { tenant: 'default', field: 'ip', keyVersion: 1 }
const tokenKey = (changed: Partial<typeof binding> = {}, withKey: Uint8Array = key) =>
  new TokenKey(createAesSiv(withKey), { ...binding, ...changed })
const tokenize = (values: readonly string[], changed: Partial<typeof binding> = {}, withKey: Uint8Array = key) =>
  tokenKey(changed, withKey).tokenize(packText(values), textSpelling)

const nonEmpty = unicodeText(40).filter(text => text !== '')
const fieldName = fc.stringMatching(/^[a-z][a-z0-9_]{0,31}$/).filter(name => !/_v[0-9]+(_|$)/.test(name))
const keyVersion = fc.integer({ min: 1, max: 999_999_999 })

t.test('tokenizing', async t => {
  const { tokens, ids, ciphertexts } = tokenize(['203.0.113.7', '2001:db8::1'])
  t.same(
    { tokens, ids, ciphertexts: columnToHex(ciphertexts) },
    {
      tokens: ['ip_v1_WeHPqziSnryoK7aMD4uLDg', 'ip_v1_QlRnuY3zYSNxGzutONJ85w'],
      ids: ['59e1cfab38929ebca82bb68c0f8b8b0e', '425467b98df36123711b3bad38d27ce7'],
      ciphertexts: ['376aea81c45bdcd710c0ee', '96ae59783a642c075f97a4'],
    },
    'these tokens never change: they stand in databases',
  )
  await checkProperty(
    t,
    'a batch gives, in order, what the oracle gives one by one',
    fc.property(
      aesSivKey,
      fieldName,
      keyVersion,
      fc.array(nonEmpty, { maxLength: 12 }),
      (key, field, version, values) => {
        const { tokens, ids, ciphertexts } = tokenize(values, { field, keyVersion: version }, key)
        const alone = tokenKey({ field, keyVersion: version }, key).tokensOf(packText(values), textSpelling)
        const associatedData = encodeBinding({ ...binding, label: tokenLabel, field, keyVersion: version })
        return values.every((value, index) => {
          const encrypted = Buffer.from(aessiv(key, associatedData).encrypt(Buffer.from(value)))
          return (
            tokens[index] === `${field}_v${version}_${encrypted.toString('base64url', 0, 16)}` &&
            alone[index] === tokens[index] &&
            ids[index] === encrypted.toString('hex', 0, 16) &&
            encrypted.subarray(16).equals(valueAt(ciphertexts, index))
          )
        })
      },
    ),
  )
  await checkProperty(
    t,
    'equal values give equal tokens and different values different ones',
    fc.property(nonEmpty, nonEmpty, (one, other) => {
      const [a, b] = tokenize([one, other]).tokens
      return (a === b) === (one === other) && tokenize([one]).tokens[0] === a
    }),
  )
  t.match(tokenize([]), { tokens: [], ids: [] }, 'no values, no tokens')
  const lengths = new Set(tokenize(['x', '203.0.113.7', 'é'.repeat(70)]).tokens.map(({ length }) => length))
  t.same([...lengths], ['ip_v1_'.length + 22], 'a token does not tell how long its value is')

  const others = [{}, { tenant: 'other' }, { field: 'device_id' }, { keyVersion: 2 }].map(
    changed => tokenize(['203.0.113.7'], changed).ids[0],
  )
  others.push(tokenize(['203.0.113.7'], {}, key.toReversed()).ids[0])
  t.equal(new Set(others).size, 5, 'tenant, field, key version and key each give another identity')
})

t.test('opening', async t => {
  await checkProperty(
    t,
    'takes the ciphertext, and gives back what was tokenized',
    fc.property(fc.array(nonEmpty, { maxLength: 12 }), values => {
      const { ids, ciphertexts } = tokenize(values)
      const { plaintexts, authentic } = tokenKey().open(ids, ciphertexts)
      return authentic.every(bit => bit === 1) && unpackText(plaintexts).join('\0') === values.join('\0')
    }),
  )
  const { ids, ciphertexts } = tokenize(['203.0.113.7', '203.0.113.8', '198.51.100.23'])
  const opens = (key: TokenKey, ids: readonly string[], column = ciphertexts) => [...key.open(ids, column).authentic]
  t.same(opens(tokenKey(), ids), [1, 1, 1])
  t.same(opens(tokenKey(), [ids[1]!, ids[0]!, ids[2]!]), [0, 0, 1], 'ciphertexts of two tokens exchanged')
  for (const other of [{ tenant: 'other' }, { field: 'device_id' }, { keyVersion: 2 }])
    t.same(opens(tokenKey(other), ids), [0, 0, 0], JSON.stringify(other))
  t.same(opens(tokenKey({}, key.toReversed()), ids), [0, 0, 0], 'another key')
  const id = ids.slice(0, 1)
  const siv = Buffer.from(ids[0]!, 'hex')
  const forgedIds = everyBitFlipped(siv).map(copy => Buffer.from(copy).toString('hex'))
  t.notOk(forgedIds.some(forged => opens(tokenKey(), [forged], packBytes([valueAt(ciphertexts, 0)])).includes(1)))
  const forged = everyBitFlipped(valueAt(ciphertexts, 0))
  t.notOk(forged.some(bytes => opens(tokenKey(), id, packBytes([bytes])).includes(1)))
  for (const none of [new Uint8Array(), valueAt(ciphertexts, 0).subarray(0, 10), Buffer.from('203.0.113.7'), siv])
    t.same(opens(tokenKey(), id, packBytes([none])), [0], 'a token and every key open nothing without the ciphertext')
  t.throws(() => opens(tokenKey(), ids.slice(1)), RangeError, 'a token a ciphertext')
})

t.test('parsing', async t => {
  await checkProperty(
    t,
    'takes every token, and finds field, key version and identity',
    fc.property(fieldName, keyVersion, nonEmpty, (field, version, value) => {
      const { tokens, ids } = tokenize([value], { field, keyVersion: version })
      const parsed = parseToken(tokens[0]!)
      return parsed?.field === field && parsed.keyVersion === version && parsed.id === ids[0]
    }),
    300,
  )
  await checkProperty(
    t,
    'never throws, whatever the text, and what it takes is spelled in one way only',
    fc.property(fc.oneof(unicodeText(20), fc.string(), tokenLike()), text => {
      const parsed = parseToken(text)
      if (parsed === undefined) return true
      const payload = Buffer.from(text.slice(`${parsed.field}_v${parsed.keyVersion}_`.length), 'base64url')
      return (
        `${parsed.field}_v${parsed.keyVersion}_${payload.toString('base64url')}` === text &&
        payload.toString('hex') === parsed.id
      )
    }),
    3000,
  )
  const payload = `abc_v2_${'a'.repeat(14)}A`
  t.same(
    parseToken(`ip_v1_${payload}`),
    { field: 'ip', keyVersion: 1, id: Buffer.from(payload, 'base64url').toString('hex') },
    'a payload that looks like a version is payload',
  )
  const widest = tokenize(['x'.repeat(maxValueBytes)], { field: 'f'.repeat(32), keyVersion: 999_999_999 }).tokens[0]!
  t.ok(widest.length === maxTokenLength && parseToken(widest) !== undefined, 'the widest token of all fits and parses')
})

t.test('parsing refuses every other spelling of a token', async t => {
  const token = tokenize(['203.0.113.7']).tokens[0]!
  t.ok(parseToken(token) !== undefined)
  const last = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
  const sameBytes = [...last]
    .map(letter => token.slice(0, -1) + letter)
    .filter(text => text !== token && sameIdentityBytes(text, token))
  t.equal(sameBytes.length, 15, 'there are other final letters for the same bytes')
  const mutations: Record<string, readonly string[]> = {
    'a final letter with spare bits set': sameBytes,
    padding: [`${token}=`, `${token}==`, `${token}A=`],
    'letters of the other base64 alphabet': [`${token.slice(0, -2)}+A`, `${token.slice(0, -2)}/A`],
    'white space': [
      ` ${token}`,
      `${token} `,
      `${token}\n`,
      `${token}\r\n`,
      `\t${token}`,
      token.replace('_v', '_v '),
      `\uFEFF${token}`,
    ],
    'a version with leading zeros, sign, other digits or none': [
      '01',
      '0',
      '-1',
      '+1',
      '1.0',
      '1e0',
      '٣',
      '',
      '1000000000',
    ].map(version => token.replace('_v1_', `_v${version}_`)),
    'upper case': [token.replace('ip_', 'IP_'), token.replace('ip_', 'Ip_'), token.replace('_v1', '_V1')],
    'a field that is no name': ['', '_', '1', '-ip', 'ip-', 'ip.', 'f'.repeat(33), '__proto__'].map(field =>
      token.replace(/^ip/, field),
    ),
    'missing separators': [
      token.replace('ip_v1_', ''),
      token.replace('ip_v1_', 'ip_v1'),
      token.replace('ip_v1_', 'ip_1_'),
    ],
    'more than a SIV, or less': [0, 1, 15, 17, 18, 27].map(
      bytes => `ip_v1_${Buffer.alloc(bytes).toString('base64url')}`,
    ),
    'too long': [`ip_v1_${Buffer.alloc(300).toString('base64url')}`, `ip_v1_${'A'.repeat(1_000_000)}`],
    'characters around it': [`"${token}"`, `${token},`, `${token}\0`, `${token}é`],
  }
  for (const [what, texts] of Object.entries(mutations)) {
    t.same(
      texts.filter(text => parseToken(text) !== undefined),
      [],
      what,
    )
  }
})

/** Text that is nearly a token. */
function tokenLike(): fc.Arbitrary<string> {
  const payload = fc.oneof(
    fc.uint8Array({ minLength: 14, maxLength: 18 }).map(bytes => Buffer.from(bytes).toString('base64url')),
    fc.string({ unit: fc.constantFrom('A', 'Q', '_', '-', '=', 'v', '1'), maxLength: 40 }),
  )
  return fc
    .tuple(fieldName, fc.constantFrom('_v1_', '_v', '_v2_', '_v01_', '_v1_v1_', '__'), payload)
    .map(parts => parts.join(''))
}

function sameIdentityBytes(one: string, other: string): boolean {
  const [a, b] = [one, other].map(text => Buffer.from(text.slice('ip_v1_'.length), 'base64url'))
  return a!.equals(b!)
}
