import fc from 'fast-check'
import t from 'tap'
import { createAesSiv } from '../../src/crypto/aes-siv.ts'
import { packText, unpackText } from '../../src/crypto/byte-column.ts'
import { TokenKey } from '../../src/crypto/token.ts'
import {
  inetPrefixes,
  isRest,
  parseTypedToken,
  putRests,
  spellTyped,
  type TokenSpelling,
  takeRests,
  textSpelling,
} from '../../src/crypto/typed-token.ts'
import { checkProperty, unicodeText } from '../helpers/crypto/property.ts'
import { createTestDatabase } from '../helpers/postgres/embedded-postgres.ts'
import { connectTo } from '../helpers/postgres/vault-database.ts'

const key = Uint8Array.from({ length: 64 }, (_, index) => index)
const tokenKey = new TokenKey(createAesSiv(key), { tenant: 'default', field: 'ip', keyVersion: 1 })
const spellings = [
  { format: 'uuid', inetPrefix: 'fd00::/8' },
  { format: 'inet', inetPrefix: 'fd00::/8' },
  { format: 'inet', inetPrefix: 'fc00::/8' },
] as const satisfies readonly TokenSpelling[]
const siv = fc.uint8Array({ minLength: 16, maxLength: 16 })
/** Bytes of which many are zero, so that addresses have runs to compress. */
const sparseSiv = fc.array(fc.oneof(fc.constant(0), fc.constant(0), fc.nat(255)), { minLength: 16, maxLength: 16 })
const value = unicodeText(40).filter(text => text !== '')

t.test('a token is the SIV with the bits of its format, and they never change: they stand in databases', async t => {
  const values = packText(['203.0.113.7', '2001:db8::1'])
  const made = spellings.map(spelling => {
    const { tokens, ids, rests } = tokenKey.tokenize(values, spelling)
    t.same(tokens, tokenKey.tokensOf(values, spelling), 'looking up gives what storing gives')
    return [tokens[0], ids[0], rests![0]]
  })
  t.same(made, [
    ['59e1cfab-3892-8ebc-a82b-b68c0f8b8b0e', '59e1cfab38928ebca82bb68c0f8b8b0e', 0b100110],
    ['fde1:cfab:3892:9ebc:a82b:b68c:f8b:8b0e', 'fde1cfab38929ebca82bb68c0f8b8b0e', 0x59],
    ['fce1:cfab:3892:9ebc:a82b:b68c:f8b:8b0e', 'fce1cfab38929ebca82bb68c0f8b8b0e', 0x59],
  ])
  t.equal(tokenKey.tokenize(values, textSpelling).rests, undefined, 'text is the whole SIV')
})

t.test('properties of typed tokens', async t => {
  await checkProperty(
    t,
    'the token and the rest are the whole SIV',
    fc.property(fc.array(siv, { maxLength: 5 }), fc.constantFrom(...spellings), (sivs, { format, inetPrefix }) => {
      const whole = Buffer.concat(sivs)
      const bytes = Buffer.from(whole)
      const rests = takeRests(bytes, format, inetPrefix)
      const fits = spellTyped(bytes, format).every((text, index) => {
        const parsed = parseTypedToken(text)
        const id = bytes.toString('hex', index * 16, (index + 1) * 16)
        return parsed?.id === id && parsed.format === format && (format === 'uuid' || parsed.inetPrefix === inetPrefix)
      })
      putRests(bytes, format, rests)
      return fits && bytes.equals(whole) && rests.every(rest => isRest(format, rest))
    }),
    500,
  )
  await checkProperty(
    t,
    'opening takes id, rest and ciphertext, and any other rest of the format opens nothing',
    fc.property(value, fc.constantFrom(...spellings), fc.nat(255), (text, spelling, other) => {
      const { ids, rests, ciphertexts } = tokenKey.tokenize(packText([text]), spelling)
      const open = (rest: number) => tokenKey.open(ids, ciphertexts, { format: spelling.format, rests: [rest] })
      const { plaintexts, authentic } = open(rests![0]!)
      const isOther = isRest(spelling.format, other) && other !== rests![0]
      return authentic[0] === 1 && unpackText(plaintexts)[0] === text && !(isOther && open(other).authentic[0] === 1)
    }),
    300,
  )
  await checkProperty(
    t,
    'parsing never throws, and what it takes is spelled in one way only',
    fc.property(fc.oneof(unicodeText(20), fc.string({ unit: fc.constantFrom(...'0123456789abcdfF:-/ ') })), text => {
      const parsed = parseTypedToken(text)
      if (parsed === undefined) return true
      const [spelled] = spellTyped(Buffer.from(parsed.id, 'hex'), parsed.format)
      return spelled === parsed.canonical && (text === spelled || text === `${spelled}/128`)
    }),
    2000,
  )
})

t.test('Postgres prints them so', async t => {
  const { adminUrl } = await createTestDatabase(t)
  const database = await connectTo(t, adminUrl)
  const sample = (bytes: fc.Arbitrary<Uint8Array | number[]>) => fc.sample(bytes, 300).map(one => Buffer.from(one))
  const sivs = Buffer.concat([...sample(siv), ...sample(sparseSiv)])
  for (const { format, inetPrefix } of spellings) {
    const bytes = Buffer.from(sivs)
    takeRests(bytes, format, inetPrefix)
    const tokens = spellTyped(bytes, format)
    const { rows } = await database.query(
      `SELECT to_json(token) AS printed, token::text AS text FROM unnest($1::${format}[]) WITH ORDINALITY AS given (token, place) ORDER BY place`,
      [tokens],
    )
    t.same(
      rows.map(({ printed }) => parseTypedToken(printed)?.canonical),
      tokens,
    )
    t.same(
      rows.map(({ text }) => parseTypedToken(text)?.canonical),
      tokens,
      'as text, too',
    )
  }
})

t.test('parsing refuses every other spelling', async t => {
  const uuidText = '59e1cfab-3892-8ebc-a82b-b68c0f8b8b0e'
  const address = 'fde1:cfab:0:0:a82b:b68c:f8b:8b0e'.replace(':0:0:', '::')
  t.match(parseTypedToken(uuidText), { format: 'uuid', id: uuidText.replaceAll('-', '') })
  t.match(parseTypedToken(`${address}/128`), { format: 'inet', inetPrefix: 'fd00::/8', canonical: address })
  const refused: Record<string, readonly string[]> = {
    'upper case': [uuidText.toUpperCase(), address.toUpperCase()],
    'another version': [...'012345679abcdef'].map(digit => `${uuidText.slice(0, 14)}${digit}${uuidText.slice(15)}`),
    'another variant': [...'01234567cdef'].map(digit => `${uuidText.slice(0, 19)}${digit}${uuidText.slice(20)}`),
    'no hyphens, braces, a URN': [uuidText.replaceAll('-', ''), `{${uuidText}}`, `urn:uuid:${uuidText}`],
    'another network': ['fe80::1', '2001:db8::1', '::1', 'fdx1::1', 'f::1', 'fd::1', 'fd1::1', '203.0.113.7'],
    'a mask': ['/127', '/0', '/129', '/0128', '/128/128', '/'].map(mask => address + mask),
    'white space': [` ${uuidText}`, `${uuidText}\n`, `${address} `, `${address} /128`],
    'a spelling that RFC 5952 has not': [
      'fde1:cfab:0:0:a82b:b68c:f8b:8b0e',
      'fde1:cfab::a82b:b68c:0f8b:8b0e',
      'fde1:cfab:1::a82b:b68c:f8b:8b0e',
      'fde1:0:0:1:1::1',
      'fde1::1:0:0:0:1',
      'fde1::cfab::1',
      'fde1:::1',
      'fde1:1',
      'fde1:1:2:3:4:5:6:7:8',
      'fde1::12345',
      'fde1:1:2:3:4:5:6:',
      'fde1::203.0.113.7',
      `${address}%eth0`,
    ],
    'something else': ['', 'uuid', `${uuidText}${uuidText}`, 'f'.repeat(1_000_000), `${address}\0`],
    ...Object.fromEntries(inetPrefixes.map(prefix => [prefix, [prefix]])),
  }
  for (const [what, texts] of Object.entries(refused)) {
    t.same(
      texts.filter(text => parseTypedToken(text) !== undefined),
      [],
      what,
    )
  }
})
