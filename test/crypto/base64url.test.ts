import fc from 'fast-check'
import t from 'tap'
import { decodeBase64url, encodeBase64url } from '../../src/crypto/base64url.ts'
import { packBytes } from '../../src/crypto/byte-column.ts'
import { pooled } from '../helpers/crypto/bytes.ts'
import { bytesUpTo, checkProperty, unicodeText } from '../helpers/crypto/property.ts'

const alphabet = [...'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_']

/** What Buffer gives back for exactly this text, which it does only where the text is canonical. */
function bufferAccepts(text: string): boolean {
  return Buffer.from(text, 'base64url').toString('base64url') === text
}

t.test('RFC 4648, section 10, without padding', async t => {
  const texts = ['', 'f', 'fo', 'foo', 'foob', 'fooba', 'foobar']
  const encoded = ['', 'Zg', 'Zm8', 'Zm9v', 'Zm9vYg', 'Zm9vYmE', 'Zm9vYmFy']
  const column = packBytes(texts.map(text => Buffer.from(text)))
  t.same(encodeBase64url(column), encoded)
  t.same(
    encoded.map(text => Buffer.from(decodeBase64url(text)!).toString()),
    texts,
  )
})

t.test('encoding', async t => {
  await checkProperty(
    t,
    'a batch gives what Buffer gives one by one',
    fc.property(fc.array(bytesUpTo(70), { maxLength: 20 }), fc.integer({ min: 0, max: 5 }), (values, offset) => {
      const column = packBytes(values)
      const encoded = encodeBase64url({ bytes: pooled(column.bytes, offset), offsets: column.offsets })
      return (
        encoded.length === values.length &&
        values.every((value, index) => encoded[index] === Buffer.from(value).toString('base64url'))
      )
    }),
  )
})

t.test('decoding takes exactly what encoding gives', async t => {
  const letters = alphabet.flatMap(a => alphabet.map(b => a + b))
  t.same(
    alphabet.filter(text => decodeBase64url(text) !== undefined),
    [],
    'one letter is never a byte string',
  )
  const images = new Set(Array.from({ length: 256 }, (_, byte) => Buffer.of(byte).toString('base64url')))
  t.same(
    letters.filter(text => (decodeBase64url(text) !== undefined) !== images.has(text)),
    [],
    'all 4,096 texts of two letters: exactly the 256 images of one byte',
  )
  const pairs = new Set(
    Array.from({ length: 65_536 }, (_, pair) => Buffer.of(pair >> 8, pair & 255).toString('base64url')),
  )
  const threes = letters.flatMap(two => alphabet.map(letter => two + letter))
  t.same(
    threes.filter(text => (decodeBase64url(text) !== undefined) !== pairs.has(text)),
    [],
    'all 262,144 texts of three letters: exactly the 65,536 images of two bytes',
  )

  await checkProperty(
    t,
    'every encoded value comes back',
    fc.property(bytesUpTo(70), value => {
      const decoded = decodeBase64url(Buffer.from(value).toString('base64url'))
      return decoded !== undefined && Buffer.from(decoded).equals(value)
    }),
  )
  await checkProperty(
    t,
    'text over the alphabet is taken only where it is canonical',
    fc.property(fc.string({ unit: fc.constantFrom(...alphabet), maxLength: 40 }), text => {
      return (decodeBase64url(text) !== undefined) === bufferAccepts(text)
    }),
    1000,
  )
  await checkProperty(
    t,
    'any other character anywhere is refused',
    fc.property(bytesUpTo(30), fc.nat(60), unicodeText(1, 1), (value, at, extra) => {
      fc.pre(!alphabet.includes(extra))
      const text = Buffer.from(value).toString('base64url')
      return decodeBase64url(text.slice(0, at) + extra + text.slice(at)) === undefined
    }),
    500,
  )
  const refused = ['Zg==', 'Zm8=', 'Zm9v\n', ' Zm9v', 'Zm 9v', 'Zm+v', 'Zm/v', 'Zm9v=', 'Zh', 'Zm9', 'Ｚg', 'Zm9v\0']
  t.same(
    refused.filter(text => decodeBase64url(text) !== undefined),
    [],
    'padding, white space, the other alphabet, spare bits, full-width letters, NUL',
  )
})
