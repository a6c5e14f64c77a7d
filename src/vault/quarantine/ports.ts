/** The quarantine, as operators and workers see it. */

/** A body, or an element of one, that is not an event. `sealed` opens under the quarantine data key. */
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
  /** Newest first, those older than entry `before` where it is given. */
  listEntries(
    filter: QuarantineFilter,
    page: { limit: number; before?: string | undefined },
  ): Promise<readonly QuarantineEntry[]>
  /** The entry, with its body while that is kept. */
  findEntry(id: string): Promise<{ readonly entry: QuarantineEntry; readonly body: SealedBody | null } | undefined>
  /** Newest first, those older than entry `before` where it is given. */
  findIds(filter: QuarantineFilter, page: { limit: number; before?: string | undefined }): Promise<readonly string[]>
  /** Asks the workers to try again. @returns the ids that were in the state `quarantined` */
  requestRedrive(ids: readonly string[]): Promise<readonly string[]>
  /** Erases the bodies. @returns the ids that were not settled yet */
  discard(ids: readonly string[]): Promise<readonly string[]>
}
