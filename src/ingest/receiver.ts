import { TokenvaultError } from '../errors.ts'
import type { Log } from '../log.ts'
import type { MessageQueue, ReceivedMessage } from '../vault/ports.ts'
import { backoffMilliseconds, pause } from './backoff.ts'

export interface ReceiverOptions {
  readonly queue: MessageQueue
  readonly waitSeconds: number
  readonly visibilityTimeoutSeconds: number
  readonly log: Log
  /** Once aborted, no other receive starts. */
  readonly stop: AbortSignal
  /** Ends the long poll under way. */
  readonly endPoll: AbortSignal
  /** Failures in a row before the run ends; infinite for a worker that stays. */
  readonly maxAttempts: number
  /** Resolves when another receive may start. */
  readonly room: () => Promise<void>
  readonly onMessages: (messages: readonly ReceivedMessage[]) => void
  /** Called after an empty receive. */
  readonly onEmpty: () => Promise<void>
  readonly isDone: () => boolean
  readonly fail: (error: TokenvaultError) => void
}

/** One long-polling loop: until stopped, done or failed. Never throws. */
export async function runReceiver(options: ReceiverOptions): Promise<void> {
  const { queue, waitSeconds, visibilityTimeoutSeconds, log, stop } = options
  let failures = 0
  for (;;) {
    await options.room()
    if (stop.aborted || options.isDone()) return
    try {
      const messages = await queue.receive({ waitSeconds, visibilityTimeoutSeconds, signal: options.endPoll })
      if (messages.length > 0) options.onMessages(messages)
      else if (!stop.aborted) await options.onEmpty()
      failures = 0
    } catch (err) {
      failures++
      const retryInMs = backoffMilliseconds(failures)
      log.warn({ event: 'receive_failed', attempt: failures, retryInMs, err })
      if (failures >= options.maxAttempts) {
        return options.fail(err instanceof TokenvaultError ? err : new TokenvaultError('internal', 'a receiver failed'))
      }
      await pause(retryInMs, stop)
    }
  }
}
