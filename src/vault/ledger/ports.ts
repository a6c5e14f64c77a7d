/** What reconciliation counts. */

import type { FieldSchema } from '../fields/fields.ts'

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
