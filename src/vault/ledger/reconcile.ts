import type { FieldSchema } from '../fields/fields.ts'
import type { DayCounts, Ledger, Unmatched } from './ports.ts'

export interface ReconciledDay extends DayCounts {
  readonly verdict: 'equal' | 'different' | 'not_provable'
}

export interface Reconciliation {
  /** Nothing is different or unmatched. Days that cannot be proven do not count against it. */
  readonly isConsistent: boolean
  /** In order; only days on which anything was stored. */
  readonly days: readonly ReconciledDay[]
  readonly unmatched: readonly Unmatched[]
  /**
   * The server's timeline, where it was promoted or restored: what vanished together with its delivery record left no trace
   * here, so that consistent means consistent in itself.
   */
  readonly timeline?: number
}

/**
 * Compares, day by day, what delivery records count with what is stored, and tokens with originals. A row names no message, so
 * one row lost and another stored twice on the same day would balance; nothing else does.
 *
 * @throws TokenvaultError `store_unavailable`
 */
export async function reconcile(ledger: Ledger, fields: FieldSchema): Promise<Reconciliation> {
  const timeline = await ledger.readTimeline()
  const { days, unmatched } = await ledger.readCounts(fields)
  const reconciled = days.map(day => ({ ...day, verdict: judge(day) }))
  const isConsistent = unmatched.length === 0 && reconciled.every(({ verdict }) => verdict !== 'different')
  const history = timeline === undefined || timeline === 1 ? {} : { timeline }
  return { isConsistent, days: reconciled, unmatched, ...history }
}

function judge({ isProvable, rows, quarantined }: DayCounts): ReconciledDay['verdict'] {
  if (!isProvable) return 'not_provable'
  const isEqual = rows.recorded === rows.stored && quarantined.recorded === quarantined.stored
  return isEqual ? 'equal' : 'different'
}
