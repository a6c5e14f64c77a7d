import type { Log } from '../log.ts'
import type { Settled } from './batch/settle.ts'
import type { BatchStored } from './batch/store-batch.ts'
import type { Observe } from './metrics/observe.ts'

/** Says what became of a batch: one event for the metrics, one line for the log, and one more for each reason. */
export function tellBatch(
  { counts, reasons, unstorable }: BatchStored,
  done: Settled & { readonly messages: number; readonly startedAtMs: number },
  { log, observe }: { readonly log: Log; readonly observe?: Observe | undefined },
): void {
  const { messages, startedAtMs, released, undeleted } = done
  const durationMs = Math.round(performance.now() - startedAtMs)
  observe?.({
    kind: 'batch',
    messages,
    rows: counts.rows,
    duplicates: counts.duplicates,
    released,
    undeleted,
    unstorable: unstorable.length,
    reasons,
    seconds: durationMs / 1000,
  })
  log.info({ event: 'batch', messages, ...counts, durationMs })
  for (const [reason, count] of reasons) log.info({ event: 'quarantined', reason, count })
}
