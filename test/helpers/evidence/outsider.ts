import { createHash, createPublicKey, verify } from 'node:crypto'

/**
 * What somebody needs who has only a verifier key and what the API answers: written from the specifications' recursive
 * definitions, and sharing nothing with src.
 */

function sha256(...parts: readonly Uint8Array[]): Buffer {
  return parts.reduce((hash, part) => hash.update(part), createHash('sha256')).digest()
}

const node = (left: Uint8Array, right: Uint8Array) => sha256(Uint8Array.of(1), left, right)

function splitOf(n: number): number {
  let k = 1
  while (k * 2 < n) k *= 2
  return k
}

/** Size and root of a signed checkpoint (C2SP signed-note and tlog-checkpoint). Throws where the signature is wrong. */
export function openCheckpoint(note: string, verifierKey: string): { size: number; root: Buffer } {
  const [, name, id, key] = /^([^+]+)\+([0-9a-f]{8})\+(.+)$/.exec(verifierKey)!
  const [, text, signer, signature] = /^([\s\S]*\n)\n— (\S+) (\S+)\n$/.exec(note)!
  const publicKey = createPublicKey({
    key: { kty: 'OKP', crv: 'Ed25519', x: Buffer.from(key!, 'base64').subarray(1).toString('base64url') },
    format: 'jwk',
  })
  const bytes = Buffer.from(signature!, 'base64')
  if (signer !== name || bytes.subarray(0, 4).toString('hex') !== id) throw new Error('another key')
  if (!verify(null, Buffer.from(text!), publicKey, bytes.subarray(4))) throw new Error('wrong signature')
  const [origin, size, root] = text!.split('\n')
  if (origin !== name) throw new Error('another log')
  return { size: Number(size), root: Buffer.from(root!, 'base64') }
}

/** The root that an inclusion path leads to (RFC 9162, 2.1.3.1 read backwards). */
export function rootOfInclusion(index: number, size: number, leaf: Uint8Array, path: readonly Uint8Array[]): Buffer {
  if (size === 1) {
    if (index !== 0 || path.length !== 0) throw new Error('path too long')
    return Buffer.from(leaf)
  }
  const sibling = path.at(-1)
  if (sibling === undefined) throw new Error('path too short')
  const k = splitOf(size)
  const rest = path.slice(0, -1)
  return index < k
    ? node(rootOfInclusion(index, k, leaf, rest), sibling)
    : node(sibling, rootOfInclusion(index - k, size - k, leaf, rest))
}

/** Both roots that a consistency path leads to (RFC 9162, 2.1.4.1 read backwards). */
export function rootsOfConsistency(
  first: number,
  second: number,
  firstRoot: Uint8Array,
  path: readonly Uint8Array[],
): [Buffer, Buffer] {
  const left = [...path]
  const take = () => {
    const hash = left.pop()
    if (hash === undefined) throw new Error('path too short')
    return hash
  }
  const walk = (m: number, n: number, whole: boolean): [Buffer, Buffer] => {
    if (m === n) {
      const root = Buffer.from(whole ? firstRoot : take())
      return [root, root]
    }
    const k = splitOf(n)
    const sibling = take()
    if (m <= k) {
      const [older, newer] = walk(m, k, whole)
      return [older, node(newer, sibling)]
    }
    const [older, newer] = walk(m - k, n - k, false)
    return [node(sibling, older), node(sibling, newer)]
  }
  const roots = walk(first, second, true)
  if (left.length > 0) throw new Error('path too long')
  return roots
}

export function leafOf(event: string): Buffer {
  return sha256(Uint8Array.of(0), Buffer.from(event, 'utf8'))
}
