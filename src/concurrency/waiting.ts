import { setTimeout as sleep } from 'node:timers/promises'

/** Waits that double, in one unit: from `first` up to `longest`. */
export interface Backoff {
  readonly first: number
  readonly longest: number
  /** Share of a wait, at most, that chance takes off, so that many who wait do not return at once; half when absent. */
  readonly jitter?: number
}

/** @param attempt 1 for the first @returns the wait after it */
export function backoff(attempt: number, { first, longest, jitter = 0.5 }: Backoff): number {
  return Math.min(first * 2 ** (attempt - 1), longest) * (1 - jitter * Math.random())
}

/** Milliseconds before the next attempt at a server that does not answer: 100 doubling to 10,000, jittered. */
export function backoffMilliseconds(attempt: number): number {
  return Math.round(backoff(attempt, { first: 100, longest: 10_000 }))
}

/**
 * Waits, or returns at once when the signal is or becomes aborted.
 *
 * @param options.ref false where a process that has nothing else to do may end meanwhile
 */
export async function pause(milliseconds: number, signal?: AbortSignal, { ref = true } = {}): Promise<void> {
  try {
    await sleep(milliseconds, undefined, { ref, ...(signal === undefined ? {} : { signal }) })
  } catch {
    // Only an abort ends it early, and the caller looks at the signal itself.
  }
}

/** Resolves after the time, or as soon as the signal is aborted. */
export type Wait = (milliseconds: number, signal: AbortSignal) => Promise<void>

export interface RepeatOptions {
  /** Milliseconds before the first step; it is taken at once when absent. */
  readonly firstAfterMilliseconds?: number | undefined
  /** False where a process that has nothing else to do may end meanwhile. */
  readonly ref?: boolean
  /** How time passes: for tests. */
  readonly wait?: Wait | undefined
}

/**
 * Takes a step after the other until the signal is aborted. Steps never overlap, and an abort ends the wait between two at
 * once; the step under way is finished.
 *
 * @param step gives the milliseconds until the next one. Failures are its own business: what it throws ends everything
 * @throws what a step throws
 */
export async function repeat(
  step: () => Promise<number>,
  signal: AbortSignal,
  { firstAfterMilliseconds, ref = true, wait = (ms, signal) => pause(ms, signal, { ref }) }: RepeatOptions = {},
): Promise<void> {
  if (firstAfterMilliseconds !== undefined) await wait(firstAfterMilliseconds, signal)
  while (!signal.aborted) await wait(await step(), signal)
}
