import { createHash } from 'node:crypto'

function sha256(...parts: readonly Uint8Array[]): Buffer {
  const hash = createHash('sha256')
  for (const part of parts) hash.update(part)
  return hash.digest()
}

/** RFC 9162, 2.1.1: hash of a leaf. */
export function leafHash(entry: Uint8Array): Buffer {
  return sha256(Uint8Array.of(0), entry)
}

/** RFC 9162, 2.1.1: the tree head of entries, by the recursive definition. */
export function treeHead(entries: readonly Uint8Array[]): Buffer {
  if (entries.length === 0) return sha256()
  if (entries.length === 1) return leafHash(entries[0]!)
  let left = 1
  while (left * 2 < entries.length) left *= 2
  return sha256(Uint8Array.of(1), treeHead(entries.slice(0, left)), treeHead(entries.slice(left)))
}

/** The same head from the roots of the full subtrees, largest first, as the database keeps them. */
export function foldSubtreeRoots(roots: readonly Uint8Array[]): Buffer {
  const last = roots.at(-1)
  if (last === undefined) return sha256()
  return Buffer.from(roots.slice(0, -1).reduceRight((right, left) => sha256(Uint8Array.of(1), left, right), last))
}
