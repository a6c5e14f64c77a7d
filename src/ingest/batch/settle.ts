import type { Log } from '../../log.ts'
import type { Observe } from '../metrics/observe.ts'
import type { MessageQueue, ReceivedMessage } from '../ports.ts'
import type { Heartbeat, MessagesInFlight } from './in-flight.ts'

/** What becomes of a message once its batch is done; the only place where that is decided. */
export type Outcome =
  /** Its effect is committed. */
  | { readonly kind: 'delete' }
  /** It had no effect: someone may have it after the delay. */
  | { readonly kind: 'delay'; readonly delaySeconds: number }
  /** Nothing is known, or nothing can be done: its visibility timeout decides. */
  | { readonly kind: 'leave' }

export interface Settled {
  readonly released: number
  readonly undeleted: number
}

export interface SettleContext {
  readonly queue: Pick<MessageQueue, 'delete' | 'release'>
  readonly inFlight: Pick<MessagesInFlight, 'claimForDelete' | 'claimForRelease' | 'remove'>
  readonly heartbeat: Pick<Heartbeat, 'quiet'>
  readonly log: Log
  readonly observe?: Observe | undefined
}

/**
 * Tells the queue the outcome of each message of a batch, with the newest receipt handle that is known.
 *
 * A delete follows the commit, so it is right whenever it happens, even with a handle whose time is over: at worst it does
 * nothing, the message comes once more, finds its delivery record and is deleted with its new handle. That is why a message
 * whose visibility ran out while it waited is stored all the same; dropping it would waste the work and, on a slow
 * database, never get anywhere. A release is the opposite: with an expired handle it could end the hidden time of
 * another worker, so only what is still hidden for us is released; the rest is left.
 *
 * Never throws: what could not be settled comes back by itself.
 */
export async function settle(
  batch: readonly ReceivedMessage[],
  outcomes: ReadonlyMap<string, Outcome>,
  { queue, inFlight, heartbeat, log, observe }: SettleContext,
): Promise<Settled> {
  const deletable = [...outcomes].flatMap(([messageId, { kind }]) => (kind === 'delete' ? [messageId] : []))
  const delayed = [...outcomes].flatMap(([messageId, outcome]) =>
    outcome.kind === 'delay' ? [{ messageId, ...outcome }] : [],
  )
  const byDelay = Map.groupBy(delayed, ({ delaySeconds }) => delaySeconds)

  const deleting = inFlight.claimForDelete(deletable)
  const nowMs = performance.now()
  const releasing = [...byDelay].map(([delaySeconds, group]) => {
    const messageIds = group.map(({ messageId }) => messageId)
    return { delaySeconds, messages: inFlight.claimForRelease(messageIds, batch, nowMs) }
  })
  inFlight.remove(batch)

  let undeleted = 0
  let released = 0
  try {
    undeleted = (await queue.delete(deleting)).length
    for (const { delaySeconds, messages } of releasing) {
      if (messages.length === 0) continue
      await heartbeat.quiet()
      await queue.release(messages, delaySeconds)
      released += messages.length
    }
  } catch (err) {
    log.warn({ event: 'batch_not_settled', messages: batch.length, err })
    observe?.({ kind: 'queue_failed', operation: 'settle' })
  }
  return { released, undeleted }
}
