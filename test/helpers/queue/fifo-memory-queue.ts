import { setTimeout as sleep } from 'node:timers/promises'
import type { MessageQueue, ReceivedMessage } from '../../../src/ingest/ports.ts'

interface Kept {
  readonly messageId: string
  readonly groupId: string
  readonly body: string
  readonly sentAtMs: number
  receiveCount: number
  hiddenUntilMs: number
}

export interface FifoMemoryQueue extends MessageQueue {
  count(): number
}

/**
 * A FIFO queue as AWS describes it, which the emulator is not: one receive gives up to ten messages, as many of one group as
 * there are, and while any of a group is hidden nothing of it is given.
 *
 * @see https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/FIFO-queues-understanding-logic.html
 */
export function createFifoMemoryQueue(): FifoMemoryQueue {
  const kept: Kept[] = []
  const isHidden = ({ hiddenUntilMs }: Kept) => hiddenUntilMs > performance.now()
  const find = ({ messageId, receiptHandle }: ReceivedMessage) =>
    kept.find(one => one.messageId === messageId && receiptHandle === `${messageId}/${one.receiveCount}`)

  const take = (visibilityTimeoutSeconds: number): ReceivedMessage[] => {
    const locked = new Set(kept.filter(isHidden).map(({ groupId }) => groupId))
    const taken = kept.filter(({ groupId }) => !locked.has(groupId)).slice(0, 10)
    return taken.map(message => {
      const receivedAtMs = performance.now()
      message.receiveCount++
      message.hiddenUntilMs = receivedAtMs + visibilityTimeoutSeconds * 1000
      return { ...message, receiptHandle: `${message.messageId}/${message.receiveCount}`, receivedAtMs }
    })
  }
  const hide = async (messages: readonly ReceivedMessage[], seconds: number) => {
    for (const message of messages) {
      const found = find(message)
      if (found !== undefined && isHidden(found)) found.hiddenUntilMs = performance.now() + seconds * 1000
      // What others do between two of them.
      await sleep(1)
    }
  }
  return {
    count: () => kept.length,
    async receive({ waitSeconds, visibilityTimeoutSeconds, signal }) {
      const endsAtMs = performance.now() + waitSeconds * 1000
      for (;;) {
        if (signal?.aborted) return []
        const taken = take(visibilityTimeoutSeconds)
        if (taken.length > 0 || performance.now() >= endsAtMs) return taken
        await sleep(5)
      }
    },
    async delete(messages) {
      for (const message of messages) {
        const found = find(message)
        if (found !== undefined) kept.splice(kept.indexOf(found), 1)
      }
      return []
    },
    release: hide,
    extend: hide,
    async send(messages) {
      for (const message of messages) {
        const { body, groupId = 'tokenvault' } = typeof message === 'string' ? { body: message } : message
        const messageId = `message-${kept.length}`
        kept.push({ messageId, groupId, body, sentAtMs: Date.now(), receiveCount: 0, hiddenUntilMs: 0 })
      }
    },
    async depth() {
      const inFlight = kept.filter(isHidden).length
      return { visible: kept.length - inFlight, inFlight, delayed: 0 }
    },
  }
}
