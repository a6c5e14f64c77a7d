import { pause } from '../../concurrency/waiting.ts'
import type { DeadLetterQueue, FirstIdentitySeal } from '../ports.ts'

export interface DeadLetterRedrive {
  readonly queue: DeadLetterQueue
  readonly seal: FirstIdentitySeal
  /** Messages to move, at most. */
  readonly max: number
  /** Messages a second, at most: the worker has other work too. */
  readonly perSecond: number
  /** Aborting it ends the run once the batch under way has been sent and deleted. */
  readonly signal: AbortSignal
  readonly onProgress?: (totals: DeadLetterTotals) => void
}

export interface DeadLetterTotals {
  /** Messages that the source took. */
  readonly moved: number
  /** Were received again within this run, after having been moved or not, and were left. */
  readonly back: number
  /** Were refused by the source, and stay where they are. */
  readonly notSent: number
  /** Were sent and not deleted: they are sent once more some day, and take effect no second time. */
  readonly undeleted: number
}

/** Moves at once: each waits for the network three times. */
const lanes = 4

/**
 * Moves dead letters back to their source until none is left, none can be moved, or the limit is reached.
 *
 * Killed at any point it loses none: what was sent and not deleted is sent again by the next run, and the worker knows
 * it by its mark. @throws TokenvaultError `queue_unavailable`
 */
export async function redriveDeadLetters(options: DeadLetterRedrive): Promise<DeadLetterTotals> {
  const { queue, seal, max, perSecond, signal } = options
  const totals = { moved: 0, back: 0, notSent: 0, undeleted: 0 }
  const tried = new Set<string>()
  const startedAtMs = performance.now()
  while (totals.moved < max && !signal.aborted) {
    const left = max - totals.moved
    const shares = Array.from({ length: queue.inOrder ? 1 : lanes }, (_, lane) => Math.min(10, left - 10 * lane))
    const steps = await Promise.allSettled(shares.filter(most => most > 0).map(most => queue.move(most, seal, tried)))
    let movedNow = 0
    for (const step of steps) {
      if (step.status === 'rejected') continue
      movedNow += step.value.moved
      totals.back += step.value.back
      totals.notSent += step.value.notSent
      totals.undeleted += step.value.undeleted
    }
    totals.moved += movedNow
    options.onProgress?.({ ...totals })
    for (const step of steps) if (step.status === 'rejected') throw step.reason
    // A long poll asks all servers of the queue, so one that finds nothing is enough.
    if (movedNow === 0) break
    const aheadMs = (totals.moved * 1000) / perSecond - (performance.now() - startedAtMs)
    if (aheadMs > 0) await pause(aheadMs, signal)
  }
  return totals
}
