import { hash } from 'node:crypto'

/** SHA-256. */
export const treeHashBytes = 32

/**
 * Levels at which a log stores the roots of full subtrees besides its leaves: under each stand 256 hashes of the level below.
 * Migrations hold the same numbers.
 */
export const subtreeLevels: readonly number[] = [8, 16, 24, 32]

/** Leaves from ≤ index < to. */
export interface LeafRange {
  readonly from: number
  readonly to: number
}

/** The full subtree over the leaves `index * 2^level` ≤ i < `(index + 1) * 2^level`. */
export interface Subtree {
  readonly level: number
  readonly index: number
}

/** Hash of a leaf: SHA-256(0x00 ‖ entry) (RFC 9162, 2.1.1). */
export function leafHash(entry: Uint8Array): Uint8Array {
  const input = Buffer.allocUnsafe(entry.length + 1)
  input[0] = 0
  input.set(entry, 1)
  return hash('sha256', input, 'buffer')
}

/** Hash of an inner node: SHA-256(0x01 ‖ left ‖ right) (RFC 9162, 2.1.1). */
export function nodeHash(left: Uint8Array, right: Uint8Array): Uint8Array {
  const input = Buffer.allocUnsafe(1 + left.length + right.length)
  input[0] = 1
  input.set(left, 1)
  input.set(right, 1 + left.length)
  return hash('sha256', input, 'buffer')
}

/**
 * The root over neighbouring full subtrees.
 *
 * @param roots theirs, left to right, each subtree smaller than the one before
 * @returns the root; of no subtree the hash of the empty tree
 */
export function foldRoots(roots: readonly Uint8Array[]): Uint8Array {
  const last = roots.at(-1)
  if (last === undefined) return hash('sha256', Buffer.alloc(0), 'buffer')
  return roots.slice(0, -1).reduceRight((right, left) => nodeHash(left, right), last)
}

/**
 * The right edge of a growing tree: the roots of the full subtrees that its size is made of, which is all that an append
 * and the root need (as `pii_vault.audit_head` keeps them).
 */
export class Frontier {
  #size = 0
  readonly #roots: Uint8Array[] = []

  /** Number of leaves. */
  get size(): number {
    return this.#size
  }

  /** Roots of the full subtrees, largest first. */
  get subtreeRoots(): readonly Uint8Array[] {
    return [...this.#roots]
  }

  /** Root of the whole tree. */
  root(): Uint8Array {
    return foldRoots(this.#roots)
  }

  /**
   * Appends a leaf, or the root of a full subtree where all are of its size.
   *
   * @param completed told of every full subtree of two or more leaves that the append completes, smallest first
   */
  append(leaf: Uint8Array, completed?: (level: number, root: Uint8Array) => void): void {
    let node = leaf
    let level = 0
    for (let merges = this.#size; merges % 2 === 1; merges = (merges - 1) / 2) {
      node = nodeHash(this.#roots.pop()!, node)
      completed?.(++level, node)
    }
    this.#roots.push(node)
    this.#size++
  }
}

/** Largest power of two that is smaller than n; n ≥ 2. Sizes may pass 2^32, so there is no bit arithmetic here. */
function splitOf(n: number): number {
  let split = 1
  while (split * 2 < n) split *= 2
  return split
}

/**
 * The leaves under each node of an inclusion proof, from the leaf's sibling up (RFC 9162, 2.1.3.1).
 *
 * @param index below size
 */
export function inclusionRanges(index: number, size: number): LeafRange[] {
  const ranges: LeafRange[] = []
  let [from, to] = [0, size]
  while (to - from > 1) {
    const middle = from + splitOf(to - from)
    if (index < middle) {
      ranges.push({ from: middle, to })
      to = middle
    } else {
      ranges.push({ from, to: middle })
      from = middle
    }
  }
  return ranges.reverse()
}

/**
 * The leaves under each node of a consistency proof, in the order of the proof (RFC 9162, 2.1.4.1).
 *
 * @param first from 1 up to second; equal sizes need no proof, and get none
 */
export function consistencyRanges(first: number, second: number): LeafRange[] {
  const ranges: LeafRange[] = []
  let [from, to] = [0, second]
  // Whether the part looked at holds the whole first tree, whose root the verifier has.
  let isWhole = true
  while (first < to) {
    const middle = from + splitOf(to - from)
    if (first <= middle) {
      ranges.push({ from: middle, to })
      to = middle
    } else {
      ranges.push({ from, to: middle })
      from = middle
      isWhole = false
    }
  }
  if (!isWhole) ranges.push({ from, to })
  return ranges.reverse()
}

/**
 * The full subtrees that a range of a proof is made of, left to right, for foldRoots.
 *
 * @param range as inclusionRanges and consistencyRanges give them, or from 0: `from` is a multiple of every part's size
 */
export function subtreesOf({ from, to }: LeafRange): Subtree[] {
  const subtrees: Subtree[] = []
  for (let start = from; start < to; ) {
    let [level, size] = [0, 1]
    while (size * 2 <= to - start) [level, size] = [level + 1, size * 2]
    subtrees.push({ level, index: start / size })
    start += size
  }
  return subtrees
}

/** Whether the path proves that the leaf stands at index in the tree of that size and root (RFC 9162, 2.1.3.2). */
export function verifyInclusion(proof: {
  readonly index: number
  readonly size: number
  readonly leafHash: Uint8Array
  readonly path: readonly Uint8Array[]
  readonly root: Uint8Array
}): boolean {
  const { index, size, path, root } = proof
  if (!isCount(index) || !isCount(size) || index >= size) return false
  if (![proof.leafHash, root, ...path].every(isTreeHash)) return false
  let [fn, sn] = [index, size - 1]
  let node = proof.leafHash
  for (const sibling of path) {
    if (sn === 0) return false
    if (fn % 2 === 1 || fn === sn) {
      node = nodeHash(sibling, node)
      while (fn % 2 === 0 && fn !== 0) [fn, sn] = [half(fn), half(sn)]
    } else {
      node = nodeHash(node, sibling)
    }
    ;[fn, sn] = [half(fn), half(sn)]
  }
  return sn === 0 && areEqual(node, root)
}

/**
 * Whether the path proves that the tree of the second size and root has grown out of the first (RFC 9162, 2.1.4.2).
 * Every tree grows out of the empty one, and equal trees out of each other, which takes no path.
 */
export function verifyConsistency(proof: {
  readonly first: number
  readonly second: number
  readonly firstRoot: Uint8Array
  readonly secondRoot: Uint8Array
  readonly path: readonly Uint8Array[]
}): boolean {
  const { first, second, firstRoot, secondRoot, path } = proof
  if (!isCount(first) || !isCount(second) || first > second) return false
  if (![firstRoot, secondRoot, ...path].every(isTreeHash)) return false
  if (first === second) return path.length === 0 && areEqual(firstRoot, secondRoot)
  if (first === 0) return path.length === 0 && areEqual(firstRoot, foldRoots([]))
  let [fn, sn] = [first - 1, second - 1]
  while (fn % 2 === 1) [fn, sn] = [half(fn), half(sn)]
  // A first tree that is one full subtree of the second is not repeated in the path.
  const [start, ...rest] = fn === 0 ? [firstRoot, ...path] : path
  if (start === undefined) return false
  let [firstNode, secondNode] = [start, start]
  for (const sibling of rest) {
    if (sn === 0) return false
    if (fn % 2 === 1 || fn === sn) {
      firstNode = nodeHash(sibling, firstNode)
      secondNode = nodeHash(sibling, secondNode)
      while (fn % 2 === 0 && fn !== 0) [fn, sn] = [half(fn), half(sn)]
    } else {
      secondNode = nodeHash(secondNode, sibling)
    }
    ;[fn, sn] = [half(fn), half(sn)]
  }
  return sn === 0 && areEqual(firstNode, firstRoot) && areEqual(secondNode, secondRoot)
}

function half(n: number): number {
  return Math.floor(n / 2)
}

function isCount(n: number): boolean {
  return Number.isSafeInteger(n) && n >= 0
}

function isTreeHash(bytes: Uint8Array): boolean {
  return bytes.length === treeHashBytes
}

function areEqual(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0
}
