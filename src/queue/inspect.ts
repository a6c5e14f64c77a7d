import { GetQueueAttributesCommand, type SQSClient } from '@aws-sdk/client-sqs'
import { findQueue, parseRedrivePolicy } from './dead-letters.ts'
import { isFifo } from './message.ts'
import { createSqsClient, queueError, type SqsClientOptions } from './sqs-client.ts'

/** The settings of a queue that decide what becomes of its messages. */
export interface QueueFacts {
  readonly isFifo: boolean
  readonly visibilityTimeoutSeconds: number
  readonly retentionSeconds: number
  /** FIFO: the queue derives deduplication ids from bodies. */
  readonly deduplicatesByContent: boolean
  readonly redrive: { readonly arn: string; readonly maxReceiveCount: number } | undefined
}

/** When a reply was made, by the clock of the server, and by that of this host. All in milliseconds since 1970. */
export interface DatedReply {
  /** The Date header, which has whole seconds. */
  readonly serverMs: number
  readonly sentAtMs: number
  readonly receivedAtMs: number
}

/** A dead-letter queue as the redrive policy names it. */
export type DeadLetterFacts =
  | { readonly state: 'found'; readonly isFifo: boolean; readonly retentionSeconds: number; readonly messages: number }
  | { readonly state: 'missing' }
  | { readonly state: 'not_permitted' }

export interface QueueReply {
  readonly facts: QueueFacts
  /** Absent where the reply has no readable Date header. */
  readonly dated: DatedReply | undefined
}

/** A look at a queue that changes nothing: no message is received. */
export interface QueueInspector {
  /** @throws TokenvaultError `queue_unavailable`, detail `GetQueueAttributes: <error name>` */
  inspect(): Promise<QueueReply>
  /** @throws TokenvaultError `queue_unavailable` */
  inspectDeadLetters(arn: string): Promise<DeadLetterFacts>
  close(): void
}

export function createQueueInspector(options: SqsClientOptions): QueueInspector {
  const { queueUrl } = options
  const client = createSqsClient(options)
  let dated: DatedReply | undefined
  client.middlewareStack.add(
    next => async args => {
      const sentAtMs = Date.now()
      const result = await next(args)
      dated = readDate(result.response, sentAtMs) ?? dated
      return result
    },
    { step: 'deserialize' },
  )
  return {
    async inspect() {
      const attributes = await readAttributes(client, queueUrl)
      return { facts: toFacts(queueUrl, attributes), dated }
    },
    async inspectDeadLetters(arn) {
      try {
        const url = await findQueue(client, arn)
        const attributes = await readAttributes(client, url)
        return {
          state: 'found',
          isFifo: isFifo(url),
          retentionSeconds: Number(attributes['MessageRetentionPeriod']),
          messages: Number(attributes['ApproximateNumberOfMessages'] ?? 0),
        }
      } catch (error) {
        const { message } = queueError('GetQueueAttributes', error)
        if (/NonExistentQueue|QueueDoesNotExist/.test(message)) return { state: 'missing' }
        if (/AccessDenied/.test(message)) return { state: 'not_permitted' }
        throw error
      }
    },
    close: () => client.destroy(),
  }
}

async function readAttributes(client: SQSClient, queueUrl: string): Promise<Readonly<Record<string, string>>> {
  try {
    const command = new GetQueueAttributesCommand({ QueueUrl: queueUrl, AttributeNames: ['All'] })
    const { Attributes: attributes = {} } = await client.send(command)
    return attributes
  } catch (error) {
    throw queueError('GetQueueAttributes', error)
  }
}

function toFacts(queueUrl: string, attributes: Readonly<Record<string, string>>): QueueFacts {
  const redrivePolicy = attributes['RedrivePolicy']
  return {
    isFifo: isFifo(queueUrl),
    visibilityTimeoutSeconds: Number(attributes['VisibilityTimeout']),
    retentionSeconds: Number(attributes['MessageRetentionPeriod']),
    deduplicatesByContent: attributes['ContentBasedDeduplication'] === 'true',
    redrive: redrivePolicy ? parseRedrivePolicy(redrivePolicy) : undefined,
  }
}

/** @param response of the SDK's HTTP handler */
function readDate(response: unknown, sentAtMs: number): DatedReply | undefined {
  const headers = (response as { headers?: Readonly<Record<string, string>> } | undefined)?.headers ?? {}
  const serverMs = Date.parse(headers['date'] ?? '')
  return Number.isNaN(serverMs) ? undefined : { serverMs, sentAtMs, receivedAtMs: Date.now() }
}
