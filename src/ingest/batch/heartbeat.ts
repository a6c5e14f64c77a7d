import type { Log } from '../../log.ts'
import type { Observe } from '../metrics/observe.ts'
import type { MessageQueue } from '../ports.ts'
import type { MessagesInFlight } from './in-flight.ts'

export interface Heartbeat {
  /** Resolves when no extension is under way, so that a backoff sent afterwards is not overwritten by an earlier beat. */
  quiet(): Promise<void>
  stop(): void
}

/**
 * Extends the visibility of what is still held when half of its time is over. Four looks a visibility timeout, so each
 * message gets at least one try, mostly two, before its time ends. A beat that fails is only logged: the message then comes
 * again, which its delivery record makes harmless. SQS ends all extensions 12 hours after the receive.
 */
export function startHeartbeat(options: {
  readonly queue: MessageQueue
  readonly inFlight: MessagesInFlight
  readonly visibilityTimeoutSeconds: number
  readonly log: Log
  readonly observe?: Observe | undefined
}): Heartbeat {
  const { queue, inFlight, visibilityTimeoutSeconds, log, observe } = options
  let beating: Promise<void> | undefined

  const beat = async () => {
    const nowMs = performance.now()
    const messages = inFlight.dueForExtension(nowMs)
    if (messages.length === 0) return
    try {
      await queue.release(messages, visibilityTimeoutSeconds)
      inFlight.extended(messages, nowMs)
      log.debug({ event: 'visibility_extended', messages: messages.length })
    } catch (err) {
      log.warn({ event: 'visibility_not_extended', messages: messages.length, err })
      observe?.({ kind: 'queue_failed', operation: 'extend' })
    }
  }
  const timer = setInterval(() => {
    beating ??= beat().finally(() => {
      beating = undefined
    })
  }, visibilityTimeoutSeconds * 250)

  return {
    async quiet() {
      await beating
    },
    stop: () => clearInterval(timer),
  }
}
