import fc from 'fast-check'
import t from 'tap'
import {
  consistencyRanges,
  Frontier,
  foldRoots,
  inclusionRanges,
  type LeafRange,
  leafHash,
  nodeHash,
  subtreesOf,
  verifyConsistency,
  verifyInclusion,
} from '../../src/tlog/merkle.ts'
import { everyBitFlipped, hex, toHex } from '../helpers/crypto/bytes.ts'
import { checkProperty } from '../helpers/crypto/property.ts'
import * as oracle from '../helpers/evidence/merkle-tree.ts'

/** The reference vectors of Certificate Transparency (its merkle_test), which every log's implementation repeats. */
const entries = [
  '',
  '00',
  '10',
  '2021',
  '3031',
  '40414243',
  '5051525354555657',
  '606162636465666768696a6b6c6d6e6f',
].map(hex)
const emptyRoot = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'
const roots = [
  '6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d',
  'fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125',
  'aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77',
  'd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7',
  '4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4',
  '76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef',
  'ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c',
  '5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328',
]
/** Index, size, path. */
const inclusionVectors: [number, number, string[]][] = [
  [0, 1, []],
  [
    0,
    8,
    [
      '96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7',
      '5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e',
      '6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4',
    ],
  ],
  [
    5,
    8,
    [
      'bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b',
      'ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0',
      'd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7',
    ],
  ],
  [2, 3, ['fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125']],
]
/** First, second, path. */
const consistencyVectors: [number, number, string[]][] = [
  [1, 1, []],
  [
    1,
    8,
    [
      '96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7',
      '5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e',
      '6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4',
    ],
  ],
  [
    6,
    8,
    [
      '0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a',
      'ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0',
      'd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7',
    ],
  ],
  [
    2,
    5,
    [
      '5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e',
      'bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b',
    ],
  ],
]

/** More leaves than the vectors, for sizes up to 70. */
const largest = 70
const many = Array.from({ length: largest }, (_, n) => Buffer.from(`leaf ${n}`))
const heads = Array.from({ length: largest + 1 }, (_, size) => oracle.treeHead(many.slice(0, size)))

/** The hashes of a proof, each folded from its full subtrees: as a prover that can read only such subtrees. */
function pathOf(leaves: readonly Uint8Array[], ranges: readonly LeafRange[]): Uint8Array[] {
  return ranges.map(range =>
    foldRoots(
      subtreesOf(range).map(({ level, index }) =>
        oracle.treeHead(leaves.slice(index * 2 ** level, (index + 1) * 2 ** level)),
      ),
    ),
  )
}

t.test('leaves, nodes and roots are those of the reference vectors', async t => {
  t.equal(toHex(leafHash(hex(''))), roots[0])
  t.equal(
    toHex(leafHash(hex('101112131415161718191a1b1c1d1e1f'))),
    '3bfb960453ebaebf33727da7a1f4db38acc051d381b6da20d6d4e88f0eabfd7a',
  )
  t.equal(
    toHex(
      nodeHash(
        hex('000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f'),
        hex('202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f'),
      ),
    ),
    '1a378704c17da31e2d05b6d121c2bb2c7d76f6ee6fa8f983e596c2d034963c57',
  )
  const frontier = new Frontier()
  t.equal(toHex(frontier.root()), emptyRoot)
  for (const [index, entry] of entries.entries()) {
    frontier.append(leafHash(entry))
    t.equal(frontier.size, index + 1)
    t.equal(toHex(frontier.root()), roots[index])
  }
})

t.test('inclusion proofs are those of the reference vectors, and hold', async t => {
  for (const [index, size, expected] of inclusionVectors) {
    const path = pathOf(entries, inclusionRanges(index, size))
    t.same(path.map(toHex), expected)
    const proof = { index, size, leafHash: leafHash(entries[index]!), path, root: hex(roots[size - 1]!) }
    t.ok(verifyInclusion(proof))
  }
})

t.test('consistency proofs are those of the reference vectors, and hold', async t => {
  for (const [first, second, expected] of consistencyVectors) {
    const path = pathOf(entries, consistencyRanges(first, second))
    t.same(path.map(toHex), expected)
    const [firstRoot, secondRoot] = [hex(roots[first - 1]!), hex(roots[second - 1]!)]
    t.ok(verifyConsistency({ first, second, firstRoot, secondRoot, path }))
  }
})

t.test('the frontier is the tree of the recursive definition at every size, and names what it completes', async t => {
  const frontier = new Frontier()
  const wrong: string[] = []
  for (const [index, entry] of many.entries()) {
    frontier.append(leafHash(entry), (level, root) => {
      const expected = oracle.treeHead(many.slice(index + 1 - 2 ** level, index + 1))
      if ((index + 1) % 2 ** level !== 0 || !expected.equals(root)) wrong.push(`level ${level} at ${index}`)
    })
    if (!heads[index + 1]!.equals(frontier.root())) wrong.push(`root at ${index}`)
    if (!heads[index + 1]!.equals(oracle.foldSubtreeRoots(frontier.subtreeRoots))) wrong.push(`subtrees at ${index}`)
    const parts = [...(index + 1).toString(2)].filter(bit => bit === '1').length
    if (frontier.subtreeRoots.length !== parts) wrong.push(`count at ${index}`)
  }
  t.same(wrong, [])
})

t.test('every inclusion proof of every size holds for its own leaf, index and root, and for no other', async t => {
  const wrong: string[] = []
  for (let size = 1; size <= largest; size++) {
    for (let index = 0; index < size; index++) {
      const path = pathOf(many, inclusionRanges(index, size))
      const proof = { index, size, leafHash: leafHash(many[index]!), path, root: heads[size]! }
      if (!verifyInclusion(proof)) wrong.push(`${index} of ${size} does not hold`)
      const others = [
        ...[index - 1, index + 1, size].map(other => ({ ...proof, index: other })),
        { ...proof, root: heads[size - 1]! },
        { ...proof, leafHash: leafHash(many[(index + 1) % largest]!) },
        { ...proof, path: [...path, path[0] ?? heads[1]!] },
        ...(path.length > 0
          ? [
              { ...proof, path: path.slice(1) },
              { ...proof, path: path.slice(0, -1) },
            ]
          : []),
        ...(path.length > 1 ? [{ ...proof, path: [...path].reverse() }] : []),
      ]
      for (const [n, other] of others.entries()) if (verifyInclusion(other)) wrong.push(`${index} of ${size}, ${n}`)
    }
  }
  t.same(wrong, [])
})

t.test('every consistency proof of every two sizes holds for these, and for no other', async t => {
  const wrong: string[] = []
  for (let second = 1; second <= largest; second++) {
    for (let first = 1; first <= second; first++) {
      const path = pathOf(many, consistencyRanges(first, second))
      const proof = { first, second, firstRoot: heads[first]!, secondRoot: heads[second]!, path }
      if (!verifyConsistency(proof)) wrong.push(`${first} to ${second} does not hold`)
      const others = [
        { ...proof, firstRoot: heads[first - 1]! },
        { ...proof, secondRoot: heads[second - 1]! },
        { ...proof, path: [...path, path[0] ?? heads[1]!] },
        ...(path.length > 0
          ? [
              { ...proof, path: path.slice(1) },
              { ...proof, path: path.slice(0, -1) },
            ]
          : []),
        ...(path.length > 1 ? [{ ...proof, path: [...path].reverse() }] : []),
        ...(first < second ? [{ ...proof, first: second, second: first }] : []),
      ]
      for (const [n, other] of others.entries()) if (verifyConsistency(other)) wrong.push(`${first} to ${second}, ${n}`)
    }
  }
  t.same(wrong, [])
})

t.test('the empty tree is where every tree begins, and proves nothing else', async t => {
  const proof = { first: 0, second: 5, firstRoot: heads[0]!, secondRoot: heads[5]!, path: [] }
  t.ok(verifyConsistency(proof))
  t.notOk(verifyConsistency({ ...proof, firstRoot: heads[1]! }))
  t.notOk(verifyConsistency({ ...proof, path: [heads[1]!] }))
  t.notOk(verifyInclusion({ index: 0, size: 0, leafHash: heads[0]!, path: [], root: heads[0]! }))
})

t.test('numbers that are no sizes and hashes of another length are refused, not thrown at', async t => {
  const inclusion = { index: 0, size: 1, leafHash: heads[1]!, path: [], root: heads[1]! }
  t.ok(verifyInclusion(inclusion))
  const consistency = { first: 1, second: 1, firstRoot: heads[1]!, secondRoot: heads[1]!, path: [] }
  t.ok(verifyConsistency(consistency))
  for (const odd of [-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53]) {
    t.notOk(verifyInclusion({ ...inclusion, index: odd }))
    t.notOk(verifyInclusion({ ...inclusion, size: odd }))
    t.notOk(verifyConsistency({ ...consistency, first: odd }))
    t.notOk(verifyConsistency({ ...consistency, second: odd }))
  }
  // A path of odd lengths could otherwise move the border between left and right.
  t.notOk(verifyInclusion({ ...inclusion, leafHash: heads[1]!.subarray(1), root: heads[1]!.subarray(1) }))
  t.notOk(verifyInclusion({ ...inclusion, size: 2, path: [Buffer.concat([heads[1]!, heads[1]!])] }))
  t.notOk(verifyConsistency({ ...consistency, firstRoot: Buffer.alloc(0), secondRoot: Buffer.alloc(0) }))
})

t.test('one turned bit anywhere breaks a proof', async t => {
  const path = pathOf(many, inclusionRanges(11, 23))
  const proof = { index: 11, size: 23, leafHash: leafHash(many[11]!), path, root: heads[23]! }
  t.ok(verifyInclusion(proof))
  const broken = [
    ...everyBitFlipped(proof.leafHash).map(hash => ({ ...proof, leafHash: hash })),
    ...everyBitFlipped(proof.root).map(root => ({ ...proof, root })),
    ...path.flatMap((hash, place) => everyBitFlipped(hash).map(other => ({ ...proof, path: path.with(place, other) }))),
  ]
  t.equal(broken.filter(verifyInclusion).length, 0, `${broken.length} tried`)
})

t.test('ranges of proofs are exact far beyond 32 bits, and few', async t => {
  const sizes = fc
    .integer({ min: 1, max: Number.MAX_SAFE_INTEGER })
    .chain(size => fc.tuple(fc.integer({ min: 0, max: size - 1 }), fc.constant(size)))
  const covered = (ranges: readonly LeafRange[]) => ranges.reduce((sum, { from, to }) => sum + BigInt(to - from), 0n)
  await checkProperty(
    t,
    'an inclusion proof covers all but its leaf',
    fc.property(sizes, ([index, size]) => {
      const ranges = inclusionRanges(index, size)
      return (
        ranges.length <= 53 &&
        covered(ranges) === BigInt(size) - 1n &&
        ranges.every(({ from, to }) => to <= index || index < from) &&
        ranges.flatMap(subtreesOf).every(({ index }) => Number.isSafeInteger(index))
      )
    }),
  )
  await checkProperty(
    t,
    'a consistency proof covers what is new, and at most all',
    fc.property(sizes, ([first, second]) => {
      const ranges = consistencyRanges(first + 1, second)
      const isNew = ranges.filter(({ from }) => from > first)
      return ranges.length <= 54 && covered(isNew) === BigInt(second) - BigInt(first) - 1n
    }),
  )
})
