import type { Test } from 'tap'
import { startProcess } from '../embedded/embedded-process.ts'
import { type Answer, type QueueCall, startQueueProxy } from '../queue/proxy.ts'
import type { Plan } from './plan.ts'

/** Sends at once: the server, not the round trip, is to be the limit. */
const senders = 4

interface Message {
  readonly MessageId: string
  readonly ReceiptHandle: string
}

/** What a scenario does to one call; undefined lets it pass. */
export type QueueFault = (call: QueueCall) => Answer | undefined | Promise<Answer | undefined>

export interface FaultQueue {
  readonly queueUrl: string
  /** Where a worker reaches the queue, by way of the faults. */
  readonly endpoint: string
  /** Ids of all messages sent. */
  readonly sent: ReadonlySet<string>
  /** Sends past the faults, in whatever order. */
  send(bodies: readonly string[]): Promise<void>
  /** Messages in whatever state, and duplicates not yet delivered. */
  count(): Promise<number>
  /** Deliveries to workers, and how many of them repeat one. */
  readonly deliveries: { total: number; duplicated: number }
  /** The handle of a message's latest delivery. */
  newestHandle(messageId: string): string | undefined
  messageOf(receiptHandle: string): string | undefined
}

/**
 * An SQS server in a process of its own, and before it a proxy in this one that delivers messages twice and does what a
 * scenario wants.
 *
 * @param options.duplicates share of deliveries that are repeated: half of them in the same reply, half in a later one
 * @param options.visibilityTimeoutSeconds what the server hears, whatever the worker says
 */
export async function startFaultQueue(
  t: Pick<Test, 'teardown'>,
  options: {
    readonly plan: Plan
    readonly duplicates?: number
    readonly visibilityTimeoutSeconds?: number
    readonly fault?: QueueFault
  },
): Promise<FaultQueue> {
  const { plan, duplicates = 0, visibilityTimeoutSeconds, fault } = options
  const server = await startProcess(t, 'sqs-in-memory', '').report
  const direct = server!['endpoint']!
  const call = async (action: string, input: object) => {
    const reply = await fetch(direct, {
      method: 'POST',
      headers: { 'content-type': 'application/x-amz-json-1.0', 'x-amz-target': `AmazonSQS.${action}` },
      body: JSON.stringify(input),
    })
    // biome-ignore lint/suspicious/noExplicitAny: whatever the action answers
    return (await reply.json()) as any
  }
  // Without a redrive policy: every kill costs a receive count, and a dead-letter queue would hide what was lost.
  const { QueueUrl: queueUrl } = await call('CreateQueue', { QueueName: 'faults' })

  const sent = new Set<string>()
  const newest = new Map<string, string>()
  const idOf = new Map<string, string>()
  const deliveries = { total: 0, duplicated: 0 }
  let late: Message[] = []

  const receive = async ({ input, forward }: QueueCall): Promise<Answer> => {
    const limits = visibilityTimeoutSeconds === undefined ? {} : { VisibilityTimeout: visibilityTimeoutSeconds }
    const output = await forward({ ...input, ...limits, ...(late.length > 0 && { WaitTimeSeconds: 0 }) })
    const messages: Message[] = output.Messages ?? []
    const again = late
    late = []
    for (const message of messages) {
      if (!plan.chance(duplicates)) continue
      deliveries.duplicated++
      if (plan.chance(0.5)) again.push(message)
      else late.push(message)
    }
    const all = [...messages, ...again]
    deliveries.total += all.length
    for (const { MessageId, ReceiptHandle } of messages) {
      newest.set(MessageId, ReceiptHandle)
      idOf.set(ReceiptHandle, MessageId)
    }
    return { output: all.length === 0 ? {} : { Messages: all } }
  }
  const proxy = await startQueueProxy(direct, async received => {
    const answer = await fault?.(received)
    if (answer !== undefined) return answer
    if (received.action === 'ReceiveMessage') return receive(received)
    return { output: await received.forward() }
  })
  t.teardown(() => proxy.close())

  return {
    queueUrl,
    endpoint: proxy.endpoint,
    sent,
    deliveries,
    newestHandle: messageId => newest.get(messageId),
    messageOf: receiptHandle => idOf.get(receiptHandle),
    async send(bodies) {
      const entries = bodies.map((MessageBody, n) => ({ Id: String(n), MessageBody }))
      const batches = Array.from({ length: Math.ceil(entries.length / 10) }, (_, n) =>
        entries.slice(n * 10, n * 10 + 10),
      )
      const waiting = batches.values()
      const sendRest = async () => {
        for (const Entries of waiting) {
          const { Successful = [] } = await call('SendMessageBatch', { QueueUrl: queueUrl, Entries })
          if (Successful.length !== Entries.length) throw new Error('the queue server did not take every message')
          for (const { MessageId } of Successful) sent.add(MessageId)
        }
      }
      await Promise.all(Array.from({ length: senders }, sendRest))
    },
    async count() {
      const { Attributes } = await call('GetQueueAttributes', { QueueUrl: queueUrl, AttributeNames: ['All'] })
      const states = ['', 'NotVisible', 'Delayed']
      const counts = states.map(state => Number(Attributes[`ApproximateNumberOfMessages${state}`] ?? 0))
      return counts.reduce((sum, count) => sum + count, late.length)
    },
  }
}
