import t from 'tap'
import { AesSiv } from '../../src/crypto/aes-siv.ts'
import { packBytes, valueAt } from '../../src/crypto/byte-column.ts'
import { oracle, ours, oursDetached, oursWithOwnData } from '../helpers/crypto/aes-siv-implementations.ts'
import { hex, toHex } from '../helpers/crypto/bytes.ts'
import { needsSharedVectors, readSharedVectors, type WycheproofFile } from '../helpers/crypto/shared-vectors.ts'

/** A Wycheproof case of either file, in the words of RFC 5297. */
interface Case {
  readonly id: number
  readonly key: string
  /** Components of the associated data, the nonce last where there is one. */
  readonly associatedData: readonly string[]
  readonly plaintext: string
  readonly encrypted: string
  readonly valid: boolean
}

interface Published {
  readonly tcId: number
  readonly key: string
  readonly aad: string
  readonly iv?: string
  readonly msg: string
  readonly ct: string
  readonly tag?: string
  readonly result: 'valid' | 'invalid'
}

function readCases(name: string): Case[] {
  const { testGroups } = readSharedVectors<WycheproofFile<{ tests: readonly Published[] }>>(name)
  return testGroups.flatMap(({ tests }) =>
    tests.map(({ tcId, key, aad, iv, msg, ct, tag, result }) => ({
      id: tcId,
      key,
      associatedData: iv === undefined ? [aad] : [aad, iv],
      plaintext: msg,
      // Of the two files, one gives SIV ‖ ciphertext in one piece.
      encrypted: tag === undefined ? ct : tag + ct,
      valid: result === 'valid',
    })),
  )
}

const files = [
  { name: 'aes_siv_cmac_test.json', cases: 442, valid: 118 },
  { name: 'aead_aes_siv_cmac_test.json', cases: 900, valid: 252 },
]

for (const file of files) {
  t.test(`Wycheproof ${file.name}`, needsSharedVectors, async t => {
    const cases = readCases(file.name)
    t.equal(cases.length, file.cases, 'cases in the file')
    t.equal(cases.filter(({ valid }) => valid).length, file.valid, 'of which valid')

    for (const implementation of [ours, oursWithOwnData, oursDetached, oracle]) {
      t.same(
        cases.filter(({ valid, key, associatedData, plaintext, encrypted }) => {
          return valid && toHex(implementation.encrypt(hex(key), associatedData.map(hex), hex(plaintext))) !== encrypted
        }),
        [],
        `${implementation.name}: every valid case encrypts as published`,
      )
      t.same(
        cases.filter(({ valid, key, associatedData, plaintext, encrypted }) => {
          const opened = implementation.decrypt(hex(key), associatedData.map(hex), hex(encrypted))
          return valid ? opened === undefined || toHex(opened) !== plaintext : opened !== undefined
        }),
        [],
        `${implementation.name}: every valid case opens and every invalid one is refused`,
      )
    }

    const batches = Map.groupBy(cases, ({ key, associatedData }) => [key, ...associatedData.slice(0, -1)].join())
    t.comment(`${batches.size} batches, the largest of ${Math.max(...[...batches.values()].map(list => list.length))}`)
    const wrong = [...batches.values()].flatMap(list => {
      const { key, associatedData } = list[0]!
      const siv = new AesSiv(hex(key)).bind(...associatedData.slice(0, -1).map(hex))
      const own = packBytes(list.map(({ associatedData }) => hex(associatedData.at(-1)!)))
      const encrypted = siv.encrypt(packBytes(list.map(({ plaintext }) => hex(plaintext))), own)
      const opened = siv.decrypt(packBytes(list.map(({ encrypted }) => hex(encrypted))), own)
      return list.filter((one, index) => {
        if (!one.valid) return opened.authentic[index] === 1
        return (
          opened.authentic[index] === 0 ||
          toHex(valueAt(opened.plaintexts, index)) !== one.plaintext ||
          toHex(valueAt(encrypted, index)) !== one.encrypted
        )
      })
    })
    t.same(wrong, [], 'valid and invalid cases of one key together in one batch, each with its own associated data')
  })
}

t.test('the RFC 5297 vectors kept beside the checkout', needsSharedVectors, async t => {
  interface Rfc {
    readonly tests: readonly { id: string; key: string; ads: readonly string[]; pt: string; out: string }[]
  }
  const { tests } = readSharedVectors<Rfc>('rfc5297_appendix_a.json')
  t.equal(tests.length, 2)
  for (const { id, key, ads, pt, out } of tests) {
    t.equal(toHex(ours.encrypt(hex(key), ads.map(hex), hex(pt))), out, id)
  }
})
