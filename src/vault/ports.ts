/**
 * The words and the seams of the domain.
 *
 * Terms: a *token* stands for a value; its 128-bit SIV is the *token id*. An *original* is the value sealed under a
 * *data key* (DEK). Token keys, data keys, the audit key and the signing key form the *keyset*, stored wrapped under
 * the *key-encryption key* (KEK). A *principal* is an authenticated caller; a *purpose* is why it asks. A *receipt* says
 * that a message took effect. *Quarantine* is where a message goes that is no event.
 *
 * The rooms store, queue and kms implement these interfaces; cli hands the implementations to the verbs.
 */

import type { KeyName, KeyStatus } from '../crypto/keyset.ts'

/** 128-bit SIV of a token as 32 lower-case hexadecimal digits. */
export type TokenId = string

/** What is stored for one token. `sealed` is SIV ‖ ciphertext under the field's data key. */
export interface SealedOriginal {
  readonly tokenId: TokenId
  readonly field: string
  readonly tokenKeyVersion: number
  readonly dataKeyVersion: number
  readonly sealed: Uint8Array
}

/** A value's token, with what must be stored so that it can be given back. */
export interface TokenizedValue {
  readonly token: string
  readonly original: SealedOriginal
}

export interface OriginalReader {
  /** Finds the originals of up to 10,000 token ids; absent ids are absent from the map. @throws `store_unavailable` */
  findOriginals(tokenIds: readonly TokenId[]): Promise<ReadonlyMap<TokenId, SealedOriginal>>
}

// Keys.

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

// Ingest.

/** One row of user_logins; `tokens` stand in the order of the configured fields. */
export interface LoginRow {
  readonly userId: string
  readonly deviceType: string
  readonly locale: string | null
  readonly appVersion: number
  /** UTC day on which the producer sent the message, YYYY-MM-DD. */
  readonly createDate: string
  readonly tokens: readonly TokenizedValue[]
}

/** An event, or a whole message, that is no event. `sealed` opens under the quarantine data key. */
export interface QuarantinedEvent {
  /** Random, 32 hexadecimal digits; bound into the seal. */
  readonly id: string
  /** Place in the message's array of events; 0 where the message held one event or was not readable. */
  readonly eventIndex: number
  /** A stable reason without any text of the message. */
  readonly reason: string
  readonly dataKeyVersion: number
  readonly sealed: Uint8Array
}

/** Everything that one message gives rise to. It takes effect once, however often the message is delivered. */
export interface MessageEffect {
  readonly messageId: string
  /** UTC day of SentTimestamp, YYYY-MM-DD: the same on every delivery. */
  readonly sentOn: string
  readonly rows: readonly LoginRow[]
  readonly quarantined: readonly QuarantinedEvent[]
}

export interface StoredCounts {
  readonly rows: number
  readonly quarantined: number
  /** Messages whose receipt was already there: nothing was written for them. */
  readonly duplicates: number
}

export interface IngestStore {
  /**
   * Commits all effects in one transaction. Message ids are unique within the call.
   * @throws `store_unavailable`; then nothing of the batch was committed, or the outcome is unknown and a repeat is safe
   */
  storeEffects(effects: readonly MessageEffect[]): Promise<StoredCounts>
}

// People and evidence.

/** An authenticated caller, taken from a verified JWT. */
export interface Principal {
  readonly issuer: string
  readonly subject: string
  readonly roles: readonly string[]
}

/** One append-only fact. It holds identities under a keyed digest and never a value or a token. */
export interface AuditEvent {
  readonly type:
    | 'detokenize'
    | 'tokenize'
    | `quarantine_${'list' | 'show' | 'open' | 'redrive' | 'discard'}`
    | `approval_${'list' | 'show' | 'approve' | 'refuse'}`
    | `suspension_${'list' | 'lift'}`
    | `audit_${'search' | 'prove'}`
  /** UTC, RFC 3339 with milliseconds. */
  readonly at: string
  readonly requestId: string
  readonly issuer: string
  readonly subject: string
  readonly roles: readonly string[]
  /** '' for acts that take no purpose. */
  readonly purpose: string
  /** `pending`: an approval was asked for. */
  readonly decision: 'permitted' | 'refused' | 'pending'
  /** Why it was refused as a whole; absent when permitted. */
  readonly code?: string
  /** Items asked for, and items given. */
  readonly requested: number
  readonly granted: number
  /** Keyed digests of the tokens given, base64url of 16 bytes each, in request order without repeats. */
  readonly tokens: readonly string[]
  /** Number of items withheld, by code. */
  readonly withheld: Readonly<Record<string, number>>
  /** Ids of the quarantined entries concerned; absent where the act is about none. */
  readonly quarantine?: readonly string[]
  /** Ticket under which the caller acts; absent where none was named. */
  readonly ticket?: string
  /** Items of `granted` of which only a part was revealed; absent where none. */
  readonly partial?: number
  /** Id of the request for approval that the act made, decided or used. */
  readonly approval?: string
  /** Whom the act is about: the principal whose request was decided, or whose suspension was lifted. */
  readonly concerns?: { readonly issuer?: string; readonly subject: string }
  /** First 16 hexadecimal digits of the SHA-256 of the policy file that decided. */
  readonly policy?: string
}

/** Answers whether what a process needs is there. @throws the room's `*_unavailable` */
export interface HealthCheck {
  check(): Promise<void>
}
