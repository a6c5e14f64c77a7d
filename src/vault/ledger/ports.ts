/** What reconciliation counts. */

import type { FieldSchema } from '../fields/fields.ts'

/** What delivery records count beside what is stored. */
export interface Recorded {
  readonly recorded: number
  readonly stored: number
}

/** The counts of one UTC day. */
export interface DayCounts {
  /** YYYY-MM-DD; null for rows without a day, for which there can be no delivery record. */
  readonly day: string | null
  /** False where the day's delivery records were dropped with age. */
  readonly isProvable: boolean
  readonly deliveryRecords: number
  readonly rows: Recorded
  /** Of analyst.login_details; absent where it has none of the day, and should have none. */
  readonly details?: Recorded
  readonly quarantined: Recorded
  /** What erasures of people removed of the day, as the erasure ledger says; absent where nothing was. */
  readonly erased?: { readonly rows: number; readonly details: number }
  /** Events that made no row because their person was erased before; absent where there are none. */
  readonly dropped?: number
}

/** Tokens without an original, by the day of their rows; or originals without a token, by the day they were stored. */
export interface Unmatched {
  readonly finding: 'token_without_original' | 'original_without_token'
  readonly field: string
  readonly day: string | null
  readonly count: number
}

/** A column of a table outside of the product that holds tokens. */
export interface TokenColumn {
  readonly schema: string
  readonly table: string
  readonly column: string
  readonly field: string
}

/** What such a column holds, by rows. */
export interface ColumnCounts extends TokenColumn {
  /** Why it could not be counted, in words that name nothing; all counts are zero then. */
  readonly problem?: string
  readonly tokens: number
  /** Tokens of the field without an original, and whatever is not a token of the field. */
  readonly withoutOriginal: number
}

export interface Ledger {
  /**
   * The server's timeline: 1 until it is promoted or restored for the first time, and more from then on. Undefined where the
   * server does not tell. @throws `store_unavailable`
   */
  readTimeline(): Promise<number | undefined>
  /**
   * Counts of everything stored, of one moment: batches that are being stored do not disturb it.
   * Gives one line for each day, however many rows there are. @throws `store_unavailable`
   */
  readCounts(fields: FieldSchema): Promise<{
    readonly days: readonly DayCounts[]
    readonly unmatched: readonly Unmatched[]
  }>
  /** Counts of each column that `tokenvault backfill` entered, one after the other. @throws `store_unavailable` */
  readColumns(): Promise<readonly ColumnCounts[]>
}
