/** Wrapped keys, where they are stored, and the key-encryption key (KEK) that wraps them. */

import type { KeyName, KeyStatus } from './keyset.ts'

/** A key as stored: wrapped, and named in clear. */
export interface WrappedKey extends KeyName {
  readonly status: KeyStatus
  readonly kekId: string
  readonly wrapped: Uint8Array
  /** Of a token key: whether its tokens are being replaced by those of the primary one. */
  readonly isMoving?: boolean
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
   *
   * @param recovery of the keyset as it is meant to be then; stored with the keys, unless others have changed it meanwhile
   * @throws `store_unavailable`; `keys_changed` where those that are there stand under another KEK
   */
  insertKeys(keys: readonly WrappedKey[], recovery?: KeyRecovery): Promise<void>
}

/** By which stored keys a running process goes. */
export interface FollowedKeyset {
  /** A UUID that the process made up. */
  readonly instance: string
  /** What it is: `worker`, `api`, `lambda`. */
  readonly process: string
  /** fingerprintKeys of the stored keys. */
  readonly keyset: Uint8Array
}

/** A process as administrators see it. */
export interface KeyFollower extends FollowedKeyset {
  readonly startedAt: Date
  /** When it last said so. */
  readonly lookedAt: Date
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

/** A key as stored, destroyed ones too. */
export interface StoredKey extends KeyName {
  readonly status: KeyStatus
  /** Null once the key is destroyed. */
  readonly wrapped: Uint8Array | null
}

/** The keyset, encrypted to those who may open it when all else fails. */
export interface KeyRecovery {
  /** age1…; public. */
  readonly recipients: readonly string[]
  /** Of the stored keys that it was made of, as digestKeys gives it: 64 hexadecimal digits. */
  readonly keysetDigest: string
  /** An armored file of age (docs/formats.md). */
  readonly sealed: string
}

/** One that was stored, or that is none any more. */
export interface StoredKeyRecovery extends KeyRecovery {
  readonly madeAt: Date
}

export interface KeyRecoveryStore {
  /** @returns undefined where there is none @throws `store_unavailable` */
  readRecovery(): Promise<StoredKeyRecovery | undefined>
  /** Every stored key. @throws `store_unavailable` */
  readStoredKeys(): Promise<readonly StoredKey[]>
  /**
   * Puts the recovery in place of the one that is there.
   * @throws `keys_changed` where the stored keys digest to another than it was made of; `store_unavailable`
   */
  replaceRecovery(recovery: KeyRecovery): Promise<void>
}
