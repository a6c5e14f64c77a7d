import type { Redriver, RedriveTotals } from './redrive/quarantine.ts'
import type { Worker, WorkerTotals } from './worker/worker.ts'

/** Counts of one run, its redrives included: their rows and their new entries are `stored` and `quarantined` as others are. */
export interface IngestTotals extends WorkerTotals {
  /** Entries that left the quarantine. */
  readonly redriven: number
}

/** A worker that also does the redrives that operators ask for: beside the queue, or after it when draining. */
export interface IngestWorker {
  /** @throws as Worker.run and, when draining, as Redriver.drain */
  run(options: Parameters<Worker['run']>[0]): Promise<IngestTotals>
}

export function workAndRedrive(worker: Worker, redriver: Redriver): IngestWorker {
  return {
    async run({ drain, signal }) {
      if (drain) {
        const totals = await worker.run({ drain, signal })
        return add(totals, await redriver.drain(signal))
      }
      const ended = new AbortController()
      const redriving = redriver.run(AbortSignal.any([signal, ended.signal]))
      try {
        const totals = await worker.run({ drain, signal })
        ended.abort()
        return add(totals, await redriving)
      } finally {
        ended.abort()
        await redriving
      }
    },
  }
}

function add(totals: WorkerTotals, { redriven, rows, quarantined }: RedriveTotals): IngestTotals {
  return { ...totals, stored: totals.stored + rows, quarantined: totals.quarantined + quarantined, redriven }
}
