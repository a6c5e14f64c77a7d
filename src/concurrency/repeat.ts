import { pause } from './backoff.ts'

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
