import fc from 'fast-check'
import t from 'tap'
import { AesSiv, createAesSiv } from '../../src/crypto/aes-siv.ts'
import { columnLength, packBytes, valueAt } from '../../src/crypto/byte-column.ts'
import { oracle, ours, oursDetached, oursWithOwnData } from '../helpers/crypto/aes-siv-implementations.ts'
import { columnToHex, everyBitFlipped, hex, pooled, toHex } from '../helpers/crypto/bytes.ts'
import { aesSivKey, bytesUpTo, checkProperty } from '../helpers/crypto/property.ts'

// RFC 5297, Appendix A.
const rfc5297 = [
  {
    section: 'A.1, deterministic authenticated encryption',
    key: 'fffefdfcfbfaf9f8f7f6f5f4f3f2f1f0f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff',
    associatedData: ['101112131415161718191a1b1c1d1e1f2021222324252627'],
    plaintext: '112233445566778899aabbccddee',
    encrypted: '85632d07c6e8f37f950acd320a2ecc9340c02b9690c4dc04daef7f6afe5c',
  },
  {
    section: 'A.2, nonce-based authenticated encryption',
    key: '7f7e7d7c7b7a79787776757473727170404142434445464748494a4b4c4d4e4f',
    associatedData: [
      '00112233445566778899aabbccddeeffdeaddadadeaddadaffeeddccbbaa99887766554433221100',
      '102030405060708090a0',
      '09f911029d74e35bd84156c5635688c0',
    ],
    plaintext: '7468697320697320736f6d6520706c61696e7465787420746f20656e6372797074207573696e67205349562d414553',
    encrypted:
      '7bdb6e3b432667eb06f4d14bff2fbd0fcb900f2fddbe404326601965c889bf17dba77ceb094fa663b7a3f748ba8af829ea64ad544a272e9c485b62a3fd5c0d',
  },
]

for (const implementation of [ours, oursWithOwnData, oursDetached, oracle]) {
  t.test(implementation.name, async t => {
    for (const { section, key, associatedData, plaintext, encrypted } of rfc5297) {
      const data = associatedData.map(hex)
      t.equal(toHex(implementation.encrypt(hex(key), data, hex(plaintext))), encrypted, `RFC 5297 ${section}: encrypt`)
      const opened = implementation.decrypt(hex(key), data, hex(encrypted))
      t.equal(opened && toHex(opened), plaintext, `RFC 5297 ${section}: decrypt`)
    }

    await checkProperty(
      t,
      'gives back what it encrypted, under that key and associated data only',
      fc.property(
        aesSivKey,
        fc.array(bytesUpTo(40), { minLength: 1, maxLength: 4 }),
        bytesUpTo(80),
        (key, data, text) => {
          const encrypted = implementation.encrypt(key, data, text)
          const otherKey = key.map((byte, place) => (place === 0 ? byte ^ 1 : byte))
          const otherData = [...data.slice(0, -1), Uint8Array.of(...data.at(-1)!, 0)]
          return (
            Buffer.from(implementation.decrypt(key, data, encrypted)!).equals(text) &&
            implementation.decrypt(otherKey, data, encrypted) === undefined &&
            implementation.decrypt(key, otherData, encrypted) === undefined &&
            implementation.decrypt(key, [...data, new Uint8Array()], encrypted) === undefined
          )
        },
      ),
      50,
    )
  })
}

t.test('any key length but 64 bytes is refused', async t => {
  const lengths = Array.from({ length: 130 }, (_, length) => length)
  const accepted = lengths.filter(length => doesNotThrow(() => createAesSiv(new Uint8Array(length))))
  t.same(accepted, [64])
  t.throws(() => createAesSiv(new Uint8Array(32)), { code: 'key_length_invalid' })
  t.same(
    lengths.filter(length => doesNotThrow(() => new AesSiv(new Uint8Array(length)))),
    [32, 48, 64],
    'the construction behind it takes the lengths of the RFC',
  )
})

t.test('a batch', async t => {
  await checkProperty(
    t,
    'agrees with the oracle value by value, in any mixture of lengths',
    fc.property(
      aesSivKey,
      fc.array(bytesUpTo(40), { maxLength: 3 }),
      fc.array(fc.tuple(bytesUpTo(300), bytesUpTo(40)), { maxLength: 12 }),
      (key, bound, pairs) => {
        const siv = createAesSiv(key).bind(...bound)
        const texts = packBytes(pairs.map(([text]) => text))
        const own = packBytes(pairs.map(([, data]) => data))
        const plain = siv.encrypt(texts)
        const withOwn = siv.encrypt(texts, own)
        const opened = siv.decrypt(withOwn, own)
        const detached = siv.encryptDetached(texts, own)
        return (
          Buffer.from(siv.decryptDetached(detached, own).plaintexts.bytes).equals(texts.bytes) &&
          toHex(siv.sivs(texts, own)) === toHex(detached.sivs) &&
          opened.authentic.every(bit => bit === 1) &&
          Buffer.from(opened.plaintexts.bytes).equals(texts.bytes) &&
          pairs.every(([text, data], index) => {
            return (
              toHex(valueAt(plain, index)) === toHex(oracle.encrypt(key, bound, text)) &&
              toHex(valueAt(withOwn, index)) === toHex(oracle.encrypt(key, [...bound, data], text)) &&
              toHex(valueAt(withOwn, index)) ===
                toHex(detached.sivs.subarray(index * 16, index * 16 + 16)) + toHex(valueAt(detached.ciphertexts, index))
            )
          })
        )
      },
    ),
    60,
  )

  t.test('of every length from 0 to 600 agrees with the oracle', async t => {
    const key = Uint8Array.from({ length: 64 }, (_, index) => index)
    const bound = [hex('0102')]
    const texts = Array.from({ length: 601 }, (_, length) => new Uint8Array(length).fill(length))
    const encrypted = createAesSiv(key)
      .bind(...bound)
      .encrypt(packBytes(texts))
    t.same(
      columnToHex(encrypted),
      texts.map(text => toHex(oracle.encrypt(key, bound, text))),
    )
  })

  t.test('of none is none', async t => {
    const siv = createAesSiv(new Uint8Array(64)).bind()
    t.equal(columnLength(siv.encrypt(packBytes([]))), 0)
    t.equal(columnLength(siv.encrypt(packBytes([]), packBytes([]))), 0)
    t.equal(siv.decrypt(packBytes([])).authentic.length, 0)
  })

  t.test('with one altered value refuses that one, gives zeros for it, and opens its neighbours', async t => {
    const siv = createAesSiv(new Uint8Array(64).fill(7)).bind(hex('aa'))
    const texts = ['first', 'second value, past one block', 'third'].map(text => Buffer.from(text))
    const encrypted = siv.encrypt(packBytes(texts))
    encrypted.bytes[encrypted.offsets[1]! + 20]! ^= 1
    const { plaintexts, authentic } = siv.decrypt(encrypted)
    t.same([...authentic], [1, 0, 1])
    t.same(columnToHex(plaintexts), [toHex(texts[0]!), '00'.repeat(texts[1]!.length), toHex(texts[2]!)])
  })
})

t.test('forgery', async t => {
  await checkProperty(
    t,
    'every single flipped bit of SIV and ciphertext is refused',
    fc.property(aesSivKey, bytesUpTo(20), bytesUpTo(40), (key, data, text) => {
      const siv = createAesSiv(key).bind(data)
      const forged = everyBitFlipped(siv.encrypt(packBytes([text])).bytes)
      const { plaintexts, authentic } = siv.decrypt(packBytes(forged))
      return authentic.every(bit => bit === 0) && plaintexts.bytes.every(byte => byte === 0)
    }),
    30,
  )

  t.test('every truncation, and anything shorter than a SIV, is refused', async t => {
    const siv = createAesSiv(new Uint8Array(64)).bind()
    const whole = siv.encrypt(packBytes([Buffer.from('a value of more than sixteen bytes')])).bytes
    const cut = Array.from({ length: whole.length }, (_, length) => whole.subarray(0, length))
    t.ok(siv.decrypt(packBytes(cut)).authentic.every(bit => bit === 0))
    t.same([...siv.decrypt(packBytes([...cut, whole])).authentic].at(-1), 1, 'and does not disturb its neighbour')
  })

  t.test('a SIV that ends in zeros is refused without them', async t => {
    const siv = createAesSiv(new Uint8Array(64)).bind()
    const count = 4000
    const own = packBytes(Array.from({ length: count }, (_, index) => Buffer.from(String(index))))
    const whole = siv.encrypt(packBytes(new Array<Uint8Array>(count).fill(new Uint8Array())), own)
    const zeroEnded = Array.from({ length: count }, (_, index) => index).filter(
      index => valueAt(whole, index)[15] === 0,
    )
    t.ok(zeroEnded.length > 0, `${zeroEnded.length} of ${count} do`)
    const cut = packBytes(zeroEnded.map(index => valueAt(whole, index).subarray(0, 15)))
    const { authentic } = siv.decrypt(cut, packBytes(zeroEnded.map(index => valueAt(own, index))))
    t.ok(authentic.every(bit => bit === 0))
  })

  t.test('exchanged own associated data is refused', async t => {
    const siv = createAesSiv(new Uint8Array(64)).bind(hex('01'))
    const texts = packBytes([hex('aabb'), hex('ccdd')])
    const encrypted = siv.encrypt(texts, packBytes([hex('01'), hex('02')]))
    t.same([...siv.decrypt(encrypted, packBytes([hex('01'), hex('02')])).authentic], [1, 1])
    t.same([...siv.decrypt(encrypted, packBytes([hex('02'), hex('01')])).authentic], [0, 0])
    t.same([...siv.decrypt(encrypted).authentic], [0, 0], 'left out')
  })
})

t.test('views at odd offsets into larger allocations give what copies give', async t => {
  const key = Uint8Array.from({ length: 64 }, (_, index) => 255 - index)
  const data = [hex('00010203'), hex('ff')]
  const texts = [hex('11'), Buffer.from('a value of more than sixteen bytes'), new Uint8Array()]
  const encrypted = createAesSiv(key)
    .bind(...data)
    .encrypt(packBytes(texts))
  const column = packBytes(texts)
  for (const offset of [1, 2, 3, 7]) {
    const siv = createAesSiv(pooled(key, offset)).bind(...data.map(part => pooled(part, offset)))
    const again = siv.encrypt({ bytes: pooled(column.bytes, offset), offsets: column.offsets })
    t.equal(toHex(again.bytes), toHex(encrypted.bytes))
    const opened = siv.decrypt({ bytes: pooled(encrypted.bytes, offset), offsets: encrypted.offsets })
    t.same(columnToHex(opened.plaintexts), texts.map(toHex))
  }
})

t.test('the key may be overwritten once it was taken', async t => {
  const key = new Uint8Array(64).fill(9)
  const siv = createAesSiv(key)
  key.fill(0)
  const long = new Uint8Array(1000)
  t.equal(
    toHex(siv.bind().encrypt(packBytes([long])).bytes),
    toHex(oracle.encrypt(new Uint8Array(64).fill(9), [], long)),
  )
})

function doesNotThrow(act: () => unknown): boolean {
  try {
    act()
    return true
  } catch {
    return false
  }
}
