/** What the worker needs of the queue and of the store; terms as AWS uses them. */

import type { AddressFacts } from '../vault/fields/address-scope.ts'
import type { QuarantinedEvent, SealedBody } from '../vault/quarantine/ports.ts'
import type { TokenizedValue } from '../vault/tokens/ports.ts'

/** One row of user_logins; `tokens` stand in the order of the configured fields. */
export interface LoginRow {
  readonly userId: string
  readonly deviceType: string | null
  readonly locale: string | null
  readonly appVersion: number | null
  /** UTC day on which the producer sent the message, YYYY-MM-DD. */
  readonly createDate: string
  /** Null where the event has no value, or a placeholder. */
  readonly tokens: readonly (TokenizedValue | null)[]
  /** Of its addresses that may not have a network yet; absent where there is none. */
  readonly networks?: readonly AddressNetwork[]
  /** As hyphenated UUID; absent where no clear column is configured. */
  readonly loginId?: string
  /** What the configured clear columns take, in their order; absent where there is none. */
  readonly clear?: readonly (string | null)[]
}

/** An address, and its network. */
export interface AddressNetwork extends AddressFacts {
  /** Token of the address. */
  readonly address: string
  readonly network: TokenizedValue
}

/** A message with tokens in place of values: everything that it gives. It takes effect once, however often the message is delivered. */
export interface TokenizedMessage {
  readonly messageId: string
  /** UTC day of SentTimestamp, YYYY-MM-DD: the same on every delivery. */
  readonly sentOn: string
  readonly rows: readonly LoginRow[]
  readonly quarantined: readonly QuarantinedEvent[]
  /** Names of fields: one for each value of the rows that is null because it is a placeholder. Absent where none is. */
  readonly placeholders?: readonly string[]
}

export interface StoredCounts {
  readonly rows: number
  readonly quarantined: number
  /** Messages whose delivery record was already there: nothing was written for them. */
  readonly duplicates: number
}

export interface Stored extends StoredCounts {
  /** Ids of the duplicates. */
  readonly repeated: ReadonlySet<string>
}

export interface IngestStore {
  /**
   * Commits all that the messages gave in one transaction. Message ids are unique within the call.
   * @throws `store_unavailable`; then nothing of the batch was committed, or the outcome is unknown and a repeat is safe
   */
  storeMessages(messages: readonly TokenizedMessage[]): Promise<Stored>
}

/** An entry that an operator wants tried again. */
export interface RedriveRequest extends SealedBody {
  readonly messageId: string
  readonly sentOn: string
}

/** What an entry gave: something to store, or another reason to keep it. */
export type RedriveOutcome =
  | { readonly id: string; readonly message: TokenizedMessage }
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
  readonly firstIdentity?: FirstIdentity | undefined
}

/** The identity of a message when it was sent first. */
export interface FirstIdentity {
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
  /** Hides messages in flight from others for so many seconds from now on. @throws `queue_unavailable` */
  extend(messages: readonly ReceivedMessage[], seconds: number): Promise<void>
  /** Sends any number of bodies; to a FIFO queue in order. @throws `queue_unavailable` */
  send(messages: readonly (string | OutgoingMessage)[]): Promise<void>
  /** Approximate counts, as SQS gives them. @throws `queue_unavailable` */
  depth(): Promise<QueueDepth>
}

/**
 * Marks by which a message that is sent again keeps the identity under which it was sent first: its delivery record is then the
 * one of the first sending, and it takes effect once however often it is sent again. Whoever may send to the queue could
 * otherwise claim the identity of another message and so suppress it; hence a mark is sealed under a key that no producer
 * has, and bound to the body that it goes with.
 */
export interface FirstIdentitySeal {
  /** @returns `v<key version>_<base64url>`, about 100 characters. @throws `keyset_incomplete` */
  seal(identity: FirstIdentity, body: string): string
  /** @returns undefined for a mark that is malformed, forged, of another body, or too old to be of use */
  open(mark: string, body: string, nowMs: number): FirstIdentity | undefined
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
   * Receives up to `most` dead letters (10 at most), sends each to the source under a mark of its first identity, and deletes those
   * that the source took. Adds their first message ids to `tried`, and tries none that stands there.
   * @throws `queue_unavailable` when nothing could be received
   */
  move(most: number, seal: FirstIdentitySeal, tried: Set<string>): Promise<DeadLetterMove>
}
