import { backoffMilliseconds, pause } from '../../concurrency/waiting.ts'
import { TokenvaultError } from '../../errors.ts'
import type { Log } from '../../log.ts'
import type { Run } from '../batch/run.ts'
import type { Observe } from '../metrics/observe.ts'
import type { MessageQueue, ReceivedMessage } from '../ports.ts'

export interface ReceiverOptions {
  readonly queue: Pick<MessageQueue, 'receive'>
  readonly waitSeconds: number
  readonly visibilityTimeoutSeconds: number
  readonly log: Log
  /** Once it is stopped, no other receive starts; a failing queue ends it after its attempts. */
  readonly run: Run
  /** Ends the long poll under way. */
  readonly endPoll: AbortSignal
  /** Resolves when another receive may start. */
  readonly room: () => Promise<void>
  readonly onMessages: (messages: readonly ReceivedMessage[]) => void
  /** Called after an empty receive. */
  readonly onEmpty: () => Promise<void>
  readonly isDone: () => boolean
  readonly observe?: Observe | undefined
}

/** One long-polling loop: until stopped, done or failed. Never throws. */
export async function runReceiver(options: ReceiverOptions): Promise<void> {
  const { queue, waitSeconds, visibilityTimeoutSeconds, log, run, observe } = options
  const { stop } = run
  let failures = 0
  for (;;) {
    await options.room()
    if (stop.aborted || options.isDone()) return
    try {
      const messages = await queue.receive({ waitSeconds, visibilityTimeoutSeconds, signal: options.endPoll })
      if (messages.length > 0) {
        observe?.({ kind: 'received', messages: messages.length, oldestSentAtMs: oldestSentAtMs(messages) })
        options.onMessages(messages)
      } else if (!stop.aborted) {
        observe?.({ kind: 'received_none' })
        await options.onEmpty()
      }
      failures = 0
    } catch (err) {
      failures++
      const retryInMs = backoffMilliseconds(failures)
      log.warn({ event: 'receive_failed', attempt: failures, retryInMs, err })
      observe?.({ kind: 'queue_failed', operation: 'receive' })
      if (failures >= run.maxAttempts) {
        return run.fail(err instanceof TokenvaultError ? err : new TokenvaultError('internal', 'a receiver failed'))
      }
      await pause(retryInMs, stop)
    }
  }
}

function oldestSentAtMs(messages: readonly ReceivedMessage[]): number {
  return messages.reduce((oldest, { sentAtMs }) => Math.min(oldest, sentAtMs), Number.POSITIVE_INFINITY)
}
