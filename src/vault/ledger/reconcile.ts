import type { FieldSchema } from '../fields/fields.ts'
import type { ColumnCounts, DayCounts, Ledger, Unmatched } from './ports.ts'

export interface ReconciledDay extends DayCounts {
  readonly verdict: 'equal' | 'different' | 'not_provable'
}

export interface ReconciledColumn extends ColumnCounts {
  readonly verdict: 'equal' | 'different' | 'unreadable'
}

export interface Reconciliation {
  /** Nothing is different, unmatched or unreadable. Days that cannot be proven do not count against it. */
  readonly isConsistent: boolean
  /** In order; only days on which anything was stored. */
  readonly days: readonly ReconciledDay[]
  readonly unmatched: readonly Unmatched[]
  /** Columns of other tables, each beside its originals. */
  readonly columns: readonly ReconciledColumn[]
  /**
   * The server's timeline, where it was promoted or restored: what vanished together with its delivery record left no trace
   * here, so that consistent means consistent in itself.
   */
  readonly timeline?: number
}

/**
 * Compares, day by day, what delivery records count with what is stored and what was erased, and tokens with originals. A row names no message, so
 * one row lost and another stored twice on the same day would balance; nothing else does.
 *
 * @throws TokenvaultError `store_unavailable`
 */
export async function reconcile(ledger: Ledger, fields: FieldSchema): Promise<Reconciliation> {
  const timeline = await ledger.readTimeline()
  const { days, unmatched } = await ledger.readCounts(fields)
  const reconciled = days.map(day => ({ ...day, verdict: judge(day) }))
  const columns = (await ledger.readColumns()).map(column => ({ ...column, verdict: judgeColumn(column) }))
  const isConsistent =
    unmatched.length === 0 &&
    reconciled.every(({ verdict }) => verdict !== 'different') &&
    columns.every(({ verdict }) => verdict === 'equal')
  const history = timeline === undefined || timeline === 1 ? {} : { timeline }
  return { isConsistent, days: reconciled, unmatched, columns, ...history }
}

function judge({ isProvable, rows, details, quarantined, erased }: DayCounts): ReconciledDay['verdict'] {
  if (!isProvable) return 'not_provable'
  // Exactly what was promised is gone.
  const isEqual =
    rows.recorded === rows.stored + (erased?.rows ?? 0) &&
    quarantined.recorded === quarantined.stored &&
    (details === undefined || details.recorded === details.stored + (erased?.details ?? 0))
  return isEqual ? 'equal' : 'different'
}

/** What nobody can read proves nothing. */
function judgeColumn({ problem, withoutOriginal }: ColumnCounts): ReconciledColumn['verdict'] {
  if (problem !== undefined) return 'unreadable'
  return withoutOriginal === 0 ? 'equal' : 'different'
}
