import { createHash } from 'node:crypto'
import type { WrappedKey } from './ports.ts'

/** SHA-256 of everything about the stored keys that a process goes by: names, states and wrapped bytes, in the order given. */
export function fingerprintKeys(stored: readonly WrappedKey[]): Buffer {
  const hash = createHash('sha256')
  for (const { purpose, field, version, status, wrapped, isMoving } of stored)
    hash.update(`${purpose}/${field}/${version} ${status} ${isMoving ? 'moving ' : ''}`).update(wrapped)
  return hash.digest()
}

/** The followers that do not go by the stored keys yet. */
export function findLaggards<Follower extends { readonly keyset: Uint8Array }>(
  followers: readonly Follower[],
  stored: readonly WrappedKey[],
): readonly Follower[] {
  const present = fingerprintKeys(stored)
  return followers.filter(({ keyset }) => !present.equals(keyset))
}
