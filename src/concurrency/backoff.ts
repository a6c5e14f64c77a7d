import { setTimeout as sleep } from 'node:timers/promises'

/** Milliseconds before the next attempt: 100 doubling to 10,000, of which a random half is taken off so that many do not return at once. */
export function backoffMilliseconds(attempt: number): number {
  return Math.round(Math.min(100 * 2 ** (attempt - 1), 10_000) * (0.5 + Math.random() / 2))
}

/** Seconds for which a message that cannot be stored stays away: 10 doubling to 900 with each delivery, jittered. */
export function releaseDelaySeconds(receiveCount: number): number {
  return Math.ceil(Math.min(10 * 2 ** (receiveCount - 1), 900) * (0.5 + Math.random() / 2))
}

/** Waits, or returns at once when the signal is or becomes aborted. */
export async function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  try {
    await sleep(milliseconds, undefined, { signal })
  } catch {
    // Only an abort ends it early, and the caller looks at the signal itself.
  }
}
