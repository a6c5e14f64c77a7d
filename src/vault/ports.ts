/**
 * The words and the seams of the domain.
 *
 * Terms: a *token* stands for a value; its 128-bit SIV is the *token id*. An *original* is the value sealed under a
 * *data key* (DEK). Token keys, data keys and the audit key form the *keyset*, stored wrapped under the
 * *key-encryption key* (KEK). A *principal* is an authenticated caller; a *purpose* is why it asks. A *receipt* says
 * that a message took effect. *Quarantine* is where a message goes that is no event.
 *
 * The rooms store, queue and kms implement these interfaces; cli hands the implementations to the verbs.
 */

import type { KeyName, KeyStatus } from '../crypto/keyset.ts'
import type { FieldSchema } from './fields.ts'

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

// Quarantine, as operators and workers see it.

/** What became of an entry: only the first two still hold a sealed body. */
export type QuarantineState = 'quarantined' | 'redrive_requested' | 'redriven' | 'discarded'

/** An entry of the quarantine without its body. Nothing of it comes from the message but its id. */
export interface QuarantineEntry {
  readonly id: string
  readonly state: QuarantineState
  readonly reason: string
  readonly messageId: string
  readonly eventIndex: number
  /** UTC day on which the producer sent the message, YYYY-MM-DD. */
  readonly sentOn: string
  /** Bytes of the body in UTF-8; null once it was erased. */
  readonly bodyBytes: number | null
  /** Redrives that a worker has done, whatever came of them. */
  readonly redrives: number
  /** UTC, RFC 3339 with milliseconds. */
  readonly createdAt: string
  readonly changedAt: string
}

/** A sealed body and what opens it. */
export interface SealedBody {
  readonly id: string
  readonly dataKeyVersion: number
  readonly sealed: Uint8Array
}

/** Which entries; `reason` narrows further. */
export interface QuarantineFilter {
  readonly state: QuarantineState
  readonly reason?: string | undefined
}

/** What the API may do with the quarantine. Every method throws `store_unavailable`. */
export interface QuarantineStore {
  /** Newest first, those older than entry `after` where it is given. */
  listEntries(
    filter: QuarantineFilter,
    page: { limit: number; after?: string | undefined },
  ): Promise<readonly QuarantineEntry[]>
  /** The entry, with its body while that is kept. */
  findEntry(id: string): Promise<{ readonly entry: QuarantineEntry; readonly body: SealedBody | null } | undefined>
  /** Oldest first, those newer than entry `after` where it is given. */
  findIds(filter: QuarantineFilter, page: { limit: number; after?: string | undefined }): Promise<readonly string[]>
  /** Asks the workers to try again. @returns the ids that were in the state `quarantined` */
  requestRedrive(ids: readonly string[]): Promise<readonly string[]>
  /** Erases the bodies. @returns the ids that were not settled yet */
  discard(ids: readonly string[]): Promise<readonly string[]>
}

/** An entry that an operator wants tried again. */
export interface RedriveRequest extends SealedBody {
  readonly messageId: string
  readonly sentOn: string
}

/** What an entry gave: something to store, or another reason to keep it. */
export type RedriveOutcome =
  | { readonly id: string; readonly effect: Pick<MessageEffect, 'messageId' | 'sentOn' | 'rows' | 'quarantined'> }
  | { readonly id: string; readonly reason: string }

/** What a worker may do with the quarantine. */
export interface RedriveStore {
  /**
   * Takes requested entries that no other worker holds, and commits what `decide` makes of them (one outcome an entry) in
   * the transaction that holds them: each takes effect once, whatever dies when.
   *
   * @returns the outcomes committed; none when nothing was requested
   * @throws `store_unavailable`, `store_refused`, or what `decide` throws; then nothing was changed, or the outcome is
   *   unknown and a repeat is safe
   */
  redrive(
    most: number,
    decide: (entries: readonly RedriveRequest[]) => readonly RedriveOutcome[],
  ): Promise<readonly RedriveOutcome[]>
}

// Queue.

export interface ReceivedMessage {
  readonly messageId: string
  readonly receiptHandle: string
  readonly body: string
  /** SentTimestamp in milliseconds since 1970: when the producer sent it. */
  readonly sentAtMs: number
  /** ApproximateReceiveCount, 1 on first delivery. */
  readonly receiveCount: number
  /** When we received it, `performance.now()` milliseconds; its visibility clock runs from here. */
  readonly receivedAtMs: number
  /** MessageGroupId on a FIFO queue: messages of one group take effect in the order in which they are received. */
  readonly groupId?: string | undefined
  /** Present where the message was sent again: it then takes effect as the message that it was first. */
  readonly origin?: MessageOrigin | undefined
}

/** The identity of a message when it was sent first. */
export interface MessageOrigin {
  readonly messageId: string
  /** Milliseconds since 1970. */
  readonly sentAtMs: number
}

/** A message to send. What a standard queue does not know is left out there. */
export interface OutgoingMessage {
  readonly body: string
  /** MessageGroupId; one group for all when absent. */
  readonly groupId?: string | undefined
  /** MessageDeduplicationId: a FIFO queue takes one message a id within 5 minutes. Random when absent. */
  readonly deduplicationId?: string | undefined
}

export interface QueueDepth {
  readonly visible: number
  readonly inFlight: number
  readonly delayed: number
}

export interface MessageQueue {
  /** One long poll: up to 10 messages, none when the wait ended empty. @throws `queue_unavailable` */
  receive(options: {
    waitSeconds: number
    visibilityTimeoutSeconds: number
    signal?: AbortSignal
  }): Promise<ReceivedMessage[]>
  /** Deletes any number of messages; returns the messages that the queue did not delete. @throws `queue_unavailable` */
  delete(messages: readonly ReceivedMessage[]): Promise<ReceivedMessage[]>
  /** Makes messages visible to others after the delay. @throws `queue_unavailable` */
  release(messages: readonly ReceivedMessage[], delaySeconds: number): Promise<void>
  /** Sends any number of bodies; to a FIFO queue in order. @throws `queue_unavailable` */
  send(messages: readonly (string | OutgoingMessage)[]): Promise<void>
  /** Approximate counts, as SQS gives them. @throws `queue_unavailable` */
  depth(): Promise<QueueDepth>
}

/**
 * Marks by which a message that is sent again keeps the identity under which it was sent first: its receipt is then the
 * one of the first sending, and it takes effect once however often it is sent again. Whoever may send to the queue could
 * otherwise claim the identity of another message and so suppress it; hence a mark is sealed under a key that no producer
 * has, and bound to the body that it goes with.
 */
export interface OriginSeal {
  /** @returns `v<key version>_<base64url>`, about 100 characters. @throws `keyset_incomplete` */
  seal(origin: MessageOrigin, body: string): string
  /** @returns undefined for a mark that is malformed, forged, of another body, or too old to be of use */
  open(mark: string, body: string, nowMs: number): MessageOrigin | undefined
}

/** A queue, its dead-letter queue, and what stands in each. */
export interface DeadLetterStatus {
  readonly queue: string
  readonly deadLetterQueue: string
  /** Receives after which a message becomes a dead letter. */
  readonly maxReceiveCount: number
  readonly depth: QueueDepth
  readonly deadLetterDepth: QueueDepth
}

/** What one move did; a dead letter that it received counts in `moved`, `back` or `notSent`. */
export interface DeadLetterMove {
  readonly moved: number
  /** Had been tried before, as `tried` names it, and were left. */
  readonly back: number
  /** Were not taken by the source, and were left. */
  readonly notSent: number
  /** Of those moved: were not deleted. */
  readonly undeleted: number
}

export interface DeadLetterQueue {
  /** A FIFO queue: what is moved at once may change its order. */
  readonly inOrder: boolean
  /** @throws `queue_unavailable` */
  status(): Promise<DeadLetterStatus>
  /**
   * Receives up to `most` dead letters (10 at most), sends each to the source under a mark of its origin, and deletes those
   * that the source took. Adds their first message ids to `tried`, and tries none that stands there.
   * @throws `queue_unavailable` when nothing could be received
   */
  move(most: number, seal: OriginSeal, tried: Set<string>): Promise<DeadLetterMove>
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
  readonly type: 'detokenize' | 'tokenize' | `quarantine_${'list' | 'show' | 'open' | 'redrive' | 'discard'}`
  /** UTC, RFC 3339 with milliseconds. */
  readonly at: string
  readonly requestId: string
  readonly issuer: string
  readonly subject: string
  readonly roles: readonly string[]
  /** '' for acts that take no purpose. */
  readonly purpose: string
  readonly decision: 'permitted' | 'refused'
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
}

export interface AuditLog {
  /** Resolves once the event is committed. @throws `audit_unavailable` */
  append(event: AuditEvent): Promise<{ readonly sequence: number }>
}

/** Answers whether what a process needs is there. @throws the room's `*_unavailable` */
export interface HealthCheck {
  check(): Promise<void>
}

// Reconciliation.

/** What receipts promise beside what is stored. */
export interface Promised {
  readonly receipted: number
  readonly stored: number
}

/** The counts of one UTC day. */
export interface DayCounts {
  /** YYYY-MM-DD; null for rows that have no day, which no receipt can stand for. */
  readonly day: string | null
  /** False where the day's receipts were dropped with age. */
  readonly isProvable: boolean
  readonly receipts: number
  readonly rows: Promised
  readonly quarantined: Promised
}

/** Tokens without an original, by the day of their rows; or originals without a token, by the day they were stored. */
export interface Unmatched {
  readonly finding: 'token_without_original' | 'original_without_token'
  readonly field: string
  readonly day: string | null
  readonly count: number
}

export interface Ledger {
  /**
   * Counts of everything stored, of one moment: batches that are being stored do not disturb it.
   * Of any number of rows only a line a day comes back. @throws `store_unavailable`
   */
  readCounts(fields: FieldSchema): Promise<{
    readonly days: readonly DayCounts[]
    readonly unmatched: readonly Unmatched[]
  }>
}
