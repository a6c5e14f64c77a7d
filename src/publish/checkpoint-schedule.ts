import { setTimeout as delay } from 'node:timers/promises'
import { TokenvaultError } from '../errors.ts'
import type { Log } from '../log.ts'
import type { MakeCheckpoint } from '../vault/evidence/make-checkpoint.ts'

/** First pause after a failure; each further one doubles it, up to the interval. */
const firstRetryMilliseconds = 1_000
/** Longest that stopping waits for the last checkpoint: less than what is granted to a process that is to end. */
const stopMilliseconds = 10_000

export interface CheckpointSchedule {
  /** Makes one last checkpoint, and none after it. Never throws. */
  stop(): Promise<void>
}

/** Resolves after the time, or as soon as the signal fires. */
export type Wait = (milliseconds: number, signal: AbortSignal) => Promise<void>

const wait: Wait = (milliseconds, signal) => delay(milliseconds, undefined, { signal, ref: false }).catch(() => {})

/**
 * Makes a checkpoint now and after each interval, whatever becomes of the one before. A failure is logged when it
 * begins, when it becomes another one and when it is over; in between it is only tried again.
 *
 * @param options.wait how time passes
 */
export function startCheckpoints(options: {
  readonly makeCheckpoint: MakeCheckpoint
  readonly intervalMilliseconds: number
  readonly log: Log
  readonly wait?: Wait
}): CheckpointSchedule {
  const { makeCheckpoint, intervalMilliseconds, log } = options
  const pause = options.wait ?? wait
  const stopping = new AbortController()
  let failing: string | undefined
  let failures = 0

  const attempt = async () => {
    try {
      await makeCheckpoint()
      if (failing !== undefined) log.info({ event: 'checkpoints_recovered', attempt: failures })
      failing = undefined
      failures = 0
    } catch (error) {
      failures++
      // Sizes grow while the failure stays the same.
      const state =
        error instanceof TokenvaultError ? `${error.code} ${error.message.replaceAll(/\d+/g, '')}` : 'unexpected'
      if (state !== failing) {
        // A sink that is away will be back. Evidence that does not fit itself is somebody's doing.
        const isAlarm = !(error instanceof TokenvaultError) || error.code === 'audit_invalid'
        log[isAlarm ? 'error' : 'warn']({ event: 'checkpoint_failed', err: error })
      }
      failing = state
    }
  }
  const retryMilliseconds = () =>
    Math.min(intervalMilliseconds, firstRetryMilliseconds * 2 ** Math.min(failures - 1, 20))

  const running = (async () => {
    while (!stopping.signal.aborted) {
      await attempt()
      await pause(failures === 0 ? intervalMilliseconds : retryMilliseconds(), stopping.signal)
    }
    await attempt()
  })()

  return {
    async stop() {
      stopping.abort()
      const limit = new AbortController()
      await Promise.race([running, wait(stopMilliseconds, limit.signal)])
      limit.abort()
    },
  }
}
