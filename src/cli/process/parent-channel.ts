import type { MetricsSnapshot } from '../../ingest/metrics/prometheus.ts'
import type { IngestTotals, WorkerTotals } from '../../ingest/worker/worker.ts'

/** What a supervisor asks of a worker process. */
export type SupervisorRequest = { readonly kind: 'stop' } | { readonly kind: 'metrics'; readonly request: number }

/** What a worker process tells its supervisor. */
export type WorkerReport =
  /** After each batch, and at the end with the redrives. */
  | { readonly kind: 'totals'; readonly totals: WorkerTotals | IngestTotals }
  | { readonly kind: 'metrics'; readonly request: number; readonly snapshot: MetricsSnapshot }

/** The worker process's end of the channel to its supervisor. */
export interface ParentChannel {
  /** Fires when the supervisor says so, or is gone: what is in flight is finished then. */
  readonly stop: AbortSignal
  tell(report: WorkerReport): void
  /** Says the last totals; afterwards the process can end. */
  close(totals?: IngestTotals): Promise<void>
}

export function openParentChannel(snapshot: () => Promise<MetricsSnapshot>): ParentChannel {
  const controller = new AbortController()
  const send = (report: WorkerReport) =>
    new Promise<void>(resolve => {
      // If the supervisor was killed, this process does not fail: it stops in order.
      if (process.connected) process.send!(report, undefined, undefined, () => resolve())
      else resolve()
    })
  process.on('message', async (message: SupervisorRequest) => {
    if (message.kind === 'stop') controller.abort()
    else await send({ kind: 'metrics', request: message.request, snapshot: await snapshot() })
  })
  process.on('disconnect', () => controller.abort())
  return {
    stop: controller.signal,
    tell: report => void send(report),
    async close(totals) {
      if (totals !== undefined) await send({ kind: 'totals', totals })
      if (process.connected) process.disconnect()
    },
  }
}
