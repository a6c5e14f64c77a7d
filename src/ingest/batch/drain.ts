import type { MessageQueue, ReceivedMessage } from '../ports.ts'
import type { MessagesInFlight } from './in-flight.ts'

/** Looks in a row that must find nothing: on AWS the counts are approximate, and lag behind. */
const emptyLooks = 2

/** Decides when a draining worker is done. */
export interface DrainWatch {
  /** Notes messages that the store refuses: they stay in the queue, hidden, until a redrive policy takes them. */
  setAside(messages: readonly ReceivedMessage[]): void
  /** Takes back what was set aside and did take effect later. */
  done(messageIds: Iterable<string>): void
  /** To be asked after an empty receive. @throws `queue_unavailable` */
  isDrained(received: number): Promise<boolean>
}

/**
 * The queue is drained when, two looks in a row, no message came in between, none is in flight, and the queue counts none
 * but those that were set aside. Messages in flight elsewhere count: their worker may have died.
 */
export function createDrainWatch(
  queue: Pick<MessageQueue, 'depth'>,
  inFlight: Pick<MessagesInFlight, 'size'>,
): DrainWatch {
  const aside = new Map<string, ReceivedMessage['groupId']>()
  let looks = 0
  let receivedAtLastLook = -1
  return {
    setAside(messages) {
      for (const { messageId, groupId } of messages) aside.set(messageId, groupId)
    },
    done(messageIds) {
      if (aside.size === 0) return
      for (const messageId of messageIds) aside.delete(messageId)
    },
    async isDrained(received) {
      if (inFlight.size > 0 || received !== receivedAtLastLook) looks = 0
      receivedAtLastLook = received
      if (inFlight.size > 0) return false
      const depth = await queue.depth()
      // What waits in its group behind a message that was set aside counts as visible, and no receive gives it.
      const isReceivable = depth.visible > 0 && ![...aside.values()].some(groupId => groupId !== undefined)
      looks = !isReceivable && depth.inFlight + depth.delayed <= aside.size ? looks + 1 : 0
      return looks >= emptyLooks
    },
  }
}
