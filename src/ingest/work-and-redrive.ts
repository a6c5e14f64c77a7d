import type { Redriver } from './redrive.ts'
import type { Worker } from './worker.ts'

/** A worker that also does the redrives that operators ask for: beside the queue, or after it when draining. */
export function workAndRedrive(worker: Worker, redriver: Redriver): Worker {
  return {
    async run({ drain, signal }) {
      if (drain) {
        const totals = await worker.run({ drain, signal })
        await redriver.drain(signal)
        return totals
      }
      const ended = new AbortController()
      const redriving = redriver.run(AbortSignal.any([signal, ended.signal]))
      try {
        return await worker.run({ drain, signal })
      } finally {
        ended.abort()
        await redriving
      }
    },
  }
}
