/** Wrapped keys, where they are stored, and the key-encryption key (KEK) that wraps them. */

import type { KeyName, KeyStatus } from './keyset.ts'

/** A key as stored: wrapped, and named in clear. */
export interface WrappedKey extends KeyName {
  readonly status: KeyStatus
  readonly kekId: string
  readonly wrapped: Uint8Array
}

export interface KeyReader {
  /** All wrapped keys; those that were destroyed are none. @throws `store_unavailable` */
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
  /**
   * Stores keys whose (purpose, field, version) is not there yet; never replaces one.
   * @throws `store_unavailable`; `keys_changed` where those that are there stand under another KEK
   */
  insertKeys(keys: readonly WrappedKey[]): Promise<void>
}

/** A key as its administrators see it. */
export interface KeyRecord extends KeyName {
  readonly status: KeyStatus
  readonly kekId: string
  readonly createdAt: Date
  /** When it became the primary one; absent where it never was. */
  readonly primarySince?: Date | undefined
  /** When a disabled key may be destroyed; absent where nobody asked for it. */
  readonly destroyAfter?: Date | undefined
  /** Originals or quarantined bodies that may be lost with it, as was said when its destruction was asked for. */
  readonly unreadable?: number | undefined
  readonly destroyedAt?: Date | undefined
}

/** What becomes of one key. `from` is how it stood when that was decided. */
export interface KeyTransition extends KeyName {
  readonly from: KeyStatus
  readonly to: KeyStatus
  /**
   * When it may be destroyed, and what may be lost with it; no longer, or not yet, when absent. Of a key that is destroyed now: as
   * that was said when it was decided.
   */
  readonly destruction?: { readonly after: Date; readonly unreadable: number } | undefined
}

/** A key-encryption key, wherever it lives. `associatedData` binds a wrapped key to its place in the keyset. */
export interface KeyEncryptionKey {
  /** Names the KEK without revealing it; stored beside what it wrapped. */
  readonly id: string
  wrap(key: Uint8Array, associatedData: Uint8Array): Promise<Uint8Array>
  /** @throws `kek_mismatch` when the KEK or the associated data is another one */
  unwrap(wrapped: Uint8Array, associatedData: Uint8Array): Promise<Uint8Array>
}
