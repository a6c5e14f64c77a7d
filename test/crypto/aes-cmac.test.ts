import { cmac as oracle } from '@noble/ciphers/aes.js'
import fc from 'fast-check'
import t from 'tap'
import { AesBlock, asBytes, blockWords, Cmac, doubled } from '../../src/crypto/aes-cmac.ts'
import { packBytes } from '../../src/crypto/byte-column.ts'
import { hex, pooled, toHex } from '../helpers/crypto/bytes.ts'
import { bytesUpTo, checkProperty } from '../helpers/crypto/property.ts'
import { needsSharedVectors, readSharedVectors, type WycheproofFile } from '../helpers/crypto/shared-vectors.ts'

function tags(key: Uint8Array, messages: readonly Uint8Array[]): string[] {
  const words = new Cmac(key).mac(packBytes(messages))
  return messages.map((_, index) => toHex(asBytes(words.subarray(index * blockWords, (index + 1) * blockWords))))
}

t.test('RFC 4493, section 4: the four examples, one by one and as one batch', async t => {
  const key = hex('2b7e151628aed2a6abf7158809cf4f3c')
  const message = hex(
    '6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e5130c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710',
  )
  const examples = [
    { length: 0, tag: 'bb1d6929e95937287fa37d129b756746' },
    { length: 16, tag: '070a16b46b4d4144f79bdd9dd04a287c' },
    { length: 40, tag: 'dfa66747de9ae63030ca32611497c827' },
    { length: 64, tag: '51f0bebf7e3b9d92fc49741779363cfe' },
  ]
  for (const { length, tag } of examples) t.equal(tags(key, [message.subarray(0, length)])[0], tag, `${length} bytes`)
  t.same(
    tags(
      key,
      examples.map(({ length }) => message.subarray(0, length)),
    ),
    examples.map(({ tag }) => tag),
  )
})

t.test('RFC 4493, section 4: subkey generation is doubling', async t => {
  const zero = new AesBlock(hex('2b7e151628aed2a6abf7158809cf4f3c')).encrypt(new Int32Array(blockWords))
  t.equal(toHex(asBytes(zero)), '7df76b0c1ab899b33e42f047b91b546f', 'AES-128(key, 0)')
  t.equal(toHex(asBytes(doubled(zero))), 'fbeed618357133667c85e08f7236a8de', 'K1')
  t.equal(toHex(asBytes(doubled(doubled(zero)))), 'f7ddac306ae266ccf90bc11ee46d513b', 'K2')
})

t.test('Wycheproof aes_cmac_test.json', needsSharedVectors, async t => {
  interface Case {
    readonly tcId: number
    readonly key: string
    readonly msg: string
    readonly tag: string
    readonly result: 'valid' | 'invalid'
    readonly flags: readonly string[]
  }
  const { testGroups } =
    readSharedVectors<WycheproofFile<{ tagSize: number; tests: readonly Case[] }>>('aes_cmac_test.json')
  const cases = testGroups.flatMap(({ tests }) => tests)
  t.equal(cases.length, 311)
  t.same(new Set(testGroups.map(({ tagSize }) => tagSize)), new Set([128]), 'whole tags: nothing is cut short')

  const [badKeys, usable] = [true, false].map(bad =>
    cases.filter(({ flags }) => flags.includes('InvalidKeySize') === bad),
  ) as [Case[], Case[]]
  t.equal(badKeys.length, 5)
  for (const { key } of badKeys) {
    t.throws(() => new Cmac(hex(key)), { code: 'key_length_invalid' }, `a key of ${key.length / 2} bytes is refused`)
  }

  const verifies = (tag: string | undefined, one: Case) => (tag === one.tag) === (one.result === 'valid')
  t.same(
    usable.filter(one => !verifies(tags(hex(one.key), [hex(one.msg)])[0], one)),
    [],
    'every valid tag is computed and no invalid one is',
  )
  const wrong = [...Map.groupBy(usable, ({ key }) => key)].flatMap(([key, list]) => {
    const computed = tags(
      hex(key),
      list.map(({ msg }) => hex(msg)),
    )
    return list.filter((one, index) => !verifies(computed[index], one))
  })
  t.same(wrong, [], 'the same with all messages of a key in one batch')
})

t.test('every length from 0 to 600, short and long way, agrees with @noble/ciphers', async t => {
  for (const keyLength of [16, 24, 32]) {
    const key = Uint8Array.from({ length: keyLength }, (_, index) => index * 7)
    const messages = Array.from({ length: 601 }, (_, length) =>
      Uint8Array.from({ length }, (_, index) => index + length),
    )
    const expected = messages.map(message => toHex(oracle(message, key)))
    t.same(
      messages.map(message => tags(key, [message])[0]),
      expected,
      `AES-${keyLength * 8}, one by one`,
    )
    t.same(tags(key, messages), expected, `AES-${keyLength * 8}, one batch`)
    t.same(tags(key, messages.toReversed()), expected.toReversed(), `AES-${keyLength * 8}, longest first`)
  }
})

t.test('a batch', async t => {
  await checkProperty(
    t,
    'agrees with @noble/ciphers in any mixture of lengths',
    fc.property(
      fc.constantFrom(16, 24, 32).chain(length => fc.uint8Array({ minLength: length, maxLength: length })),
      fc.array(bytesUpTo(400), { maxLength: 20 }),
      (key, messages) => {
        const computed = tags(key, messages)
        return messages.every((message, index) => computed[index] === toHex(oracle(message, key)))
      },
    ),
  )
  t.equal(new Cmac(new Uint8Array(16)).mac(packBytes([])).length, 0, 'of none is none')
  const message = hex('00112233445566778899aabbccddeeff0011')
  const column = packBytes([message])
  for (const offset of [1, 2, 3]) {
    const view = { bytes: pooled(column.bytes, offset), offsets: column.offsets }
    const tag = asBytes(new Cmac(pooled(new Uint8Array(32), offset)).mac(view))
    t.equal(toHex(tag), toHex(oracle(message, new Uint8Array(32))), `key and message at offset ${offset} of a buffer`)
  }
})

t.test('any key length but 16, 24 and 32 bytes is refused', async t => {
  for (const length of [0, 1, 15, 17, 23, 25, 31, 33, 64]) {
    t.throws(() => new Cmac(new Uint8Array(length)), { code: 'key_length_invalid' }, `${length} bytes`)
  }
})
