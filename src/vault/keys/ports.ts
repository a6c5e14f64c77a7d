/** Wrapped keys, where they are stored, and the key-encryption key (KEK) that wraps them. */

import type { KeyName, KeyStatus } from './keyset.ts'

/** A key as stored: wrapped, and named in clear. */
export interface WrappedKey extends KeyName {
  readonly status: KeyStatus
  readonly kekId: string
  readonly wrapped: Uint8Array
}

export interface KeyReader {
  /** All wrapped keys. @throws `store_unavailable` */
  readKeys(): Promise<readonly WrappedKey[]>
}

export interface KeyWriter extends KeyReader {
  /**
   * Whether anything is stored that only a key made earlier can read: an original of the field, or, without a field, an
   * original, a quarantined event or evidence. @throws `store_unavailable`
   */
  hasContent(field?: string): Promise<boolean>
  /** Whether a signed checkpoint is stored. @throws `store_unavailable` */
  hasCheckpoints(): Promise<boolean>
  /** Stores keys whose (purpose, field, version) is not there yet; never replaces one. @throws `store_unavailable` */
  insertKeys(keys: readonly WrappedKey[]): Promise<void>
}

/** A key-encryption key, wherever it lives. `associatedData` binds a wrapped key to its place in the keyset. */
export interface KeyEncryptionKey {
  /** Names the KEK without revealing it; stored beside what it wrapped. */
  readonly id: string
  wrap(key: Uint8Array, associatedData: Uint8Array): Promise<Uint8Array>
  /** @throws `kek_mismatch` when the KEK or the associated data is another one */
  unwrap(wrapped: Uint8Array, associatedData: Uint8Array): Promise<Uint8Array>
}
