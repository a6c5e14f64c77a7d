import { repeat } from '../../concurrency/waiting.ts'
import type { Log } from '../../log.ts'
import type { Observe } from '../metrics/observe.ts'
import type { MessageQueue, ReceivedMessage } from '../ports.ts'

interface Held {
  /** The latest delivery: only its receipt handle is sure to be honoured. */
  newest: ReceivedMessage
  /** Deliveries of this message that are in flight, in one batch or in several. */
  deliveries: number
  /** `performance.now()` milliseconds at which others may see the message again. */
  hiddenUntilMs: number
  /** The queue is being told its fate through another delivery: nothing may be said about it that contradicts. */
  settling: boolean
}

/** The messages that this worker received and has not settled, by message id. */
export class MessagesInFlight {
  readonly #held = new Map<string, Held>()
  readonly #visibilityTimeoutMs: number

  constructor(visibilityTimeoutSeconds: number) {
    this.#visibilityTimeoutMs = visibilityTimeoutSeconds * 1000
  }

  get size(): number {
    return this.#held.size
  }

  add(messages: readonly ReceivedMessage[]): void {
    for (const message of messages) {
      const deliveries = (this.#held.get(message.messageId)?.deliveries ?? 0) + 1
      const hiddenUntilMs = message.receivedAtMs + this.#visibilityTimeoutMs
      this.#held.set(message.messageId, { newest: message, deliveries, hiddenUntilMs, settling: false })
    }
  }

  /** Takes the deliveries of a batch out, before the queue is told: a released message may come again at once. */
  remove(batch: readonly ReceivedMessage[]): void {
    for (const { messageId } of batch) {
      const held = this.#held.get(messageId)
      if (held === undefined) continue
      held.deliveries--
      if (held.deliveries === 0) this.#held.delete(messageId)
    }
  }

  /** Whether the queue still hides any of these for us. */
  anyHidden(messages: readonly ReceivedMessage[], nowMs: number): boolean {
    return messages.some(({ messageId }) => (this.#held.get(messageId)?.hiddenUntilMs ?? 0) > nowMs)
  }

  /** Newest deliveries of these messages; from here on the heartbeat leaves them alone. */
  claimForDelete(messageIds: Iterable<string>): ReceivedMessage[] {
    return this.#claim(messageIds, () => true)
  }

  /**
   * Newest deliveries of those that may be given back by `batch`: still hidden, not being settled, and not in flight through
   * another batch. A handle that has expired could cut short the time of whoever holds the message now.
   */
  claimForRelease(messageIds: Iterable<string>, batch: readonly ReceivedMessage[], nowMs: number): ReceivedMessage[] {
    const inBatch = Map.groupBy(batch, ({ messageId }) => messageId)
    return this.#claim(
      messageIds,
      ({ settling, hiddenUntilMs, deliveries }, messageId) =>
        !settling && hiddenUntilMs > nowMs && deliveries <= (inBatch.get(messageId)?.length ?? 0),
    )
  }

  /** Newest deliveries whose remaining hidden time is at most half of the visibility timeout, and not over. */
  dueForExtension(nowMs: number): ReceivedMessage[] {
    const due: ReceivedMessage[] = []
    for (const { newest, hiddenUntilMs, settling } of this.#held.values()) {
      const remainingMs = hiddenUntilMs - nowMs
      if (!settling && remainingMs > 0 && remainingMs <= this.#visibilityTimeoutMs / 2) due.push(newest)
    }
    return due
  }

  /** The queue hides these for a whole visibility timeout from the given time on. */
  extended(messages: readonly ReceivedMessage[], fromMs: number): void {
    for (const message of messages) {
      const held = this.#held.get(message.messageId)
      if (held?.newest === message) held.hiddenUntilMs = fromMs + this.#visibilityTimeoutMs
    }
  }

  #claim(messageIds: Iterable<string>, mayClaim: (held: Held, messageId: string) => boolean): ReceivedMessage[] {
    const claimed: ReceivedMessage[] = []
    for (const messageId of messageIds) {
      const held = this.#held.get(messageId)
      if (held === undefined || !mayClaim(held, messageId)) continue
      held.settling = true
      claimed.push(held.newest)
    }
    return claimed
  }
}

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
  readonly queue: Pick<MessageQueue, 'extend'>
  readonly inFlight: MessagesInFlight
  readonly visibilityTimeoutSeconds: number
  readonly log: Log
  readonly observe?: Observe | undefined
}): Heartbeat {
  const { queue, inFlight, visibilityTimeoutSeconds, log, observe } = options
  const lookEveryMilliseconds = visibilityTimeoutSeconds * 250
  const stopping = new AbortController()
  let beating: Promise<void> | undefined

  const beat = async (nowMs: number) => {
    const messages = inFlight.dueForExtension(nowMs)
    if (messages.length === 0) return
    try {
      await queue.extend(messages, visibilityTimeoutSeconds)
      inFlight.extended(messages, nowMs)
      log.debug({ event: 'visibility_extended', messages: messages.length })
    } catch (err) {
      log.warn({ event: 'visibility_not_extended', messages: messages.length, err })
      observe?.({ kind: 'queue_failed', operation: 'extend' })
    }
  }
  const look = async () => {
    const nowMs = performance.now()
    beating = beat(nowMs)
    await beating
    // Looks begin at a steady pace, however long a beat takes.
    return Math.max(0, lookEveryMilliseconds - (performance.now() - nowMs))
  }
  void repeat(look, stopping.signal, { firstAfterMilliseconds: lookEveryMilliseconds })

  return {
    async quiet() {
      await beating
    },
    stop: () => stopping.abort(),
  }
}
