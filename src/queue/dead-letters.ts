import {
  ChangeMessageVisibilityBatchCommand,
  DeleteMessageBatchCommand,
  GetQueueAttributesCommand,
  GetQueueUrlCommand,
  type Message,
  type MessageAttributeValue,
  ReceiveMessageCommand,
  SendMessageBatchCommand,
  type SQSClient,
} from '@aws-sdk/client-sqs'
import { TokenvaultError } from '../errors.ts'
import type { DeadLetterMove, DeadLetterQueue, OriginSeal } from '../vault/queue-ports.ts'
import { callInChunks } from './call-in-chunks.ts'
import { chunk } from './chunk.ts'
import { readDepth } from './depth.ts'
import { originAttribute } from './origin-attribute.ts'
import { queueError } from './queue-error.ts'
import { createSqsClient, isFifo, type SqsClientOptions } from './sqs-client.ts'

/** A dead-letter queue with connections that must be closed. */
export interface SqsDeadLetterQueue extends DeadLetterQueue {
  close(): void
}

/** Time for a batch to be sent and deleted; what is not deleted by then may be received, and sent, again. */
const visibilityTimeoutSeconds = 60
const waitSeconds = 1
const maxBatchBytes = 256 * 1024
/** SQS takes 10 attributes a message; one is ours. */
const maxForeignAttributes = 9

/**
 * Finds the dead-letter queue that the redrive policy of the source names.
 *
 * @param options.queueUrl the source
 * @throws TokenvaultError `dead_letter_queue_missing`, `queue_unavailable`
 */
export async function openDeadLetterQueue(options: SqsClientOptions): Promise<SqsDeadLetterQueue> {
  const client = createSqsClient(options)
  const callTimeoutMilliseconds = options.callTimeoutMilliseconds ?? 10_000
  try {
    const { arn, maxReceiveCount } = await readRedrivePolicy(client, options.queueUrl)
    const deadLetterUrl = await findQueue(client, arn)
    const names = { queue: nameOf(options.queueUrl), deadLetterQueue: nameOf(deadLetterUrl), maxReceiveCount }
    return {
      inOrder: isFifo(options.queueUrl),
      async status() {
        const [depth, deadLetterDepth] = await Promise.all([
          readDepth(client, options.queueUrl),
          readDepth(client, deadLetterUrl),
        ])
        return { ...names, depth, deadLetterDepth }
      },
      move: (most, seal, tried) =>
        move({ client, sourceUrl: options.queueUrl, deadLetterUrl, callTimeoutMilliseconds }, most, seal, tried),
      close: () => client.destroy(),
    }
  } catch (error) {
    client.destroy()
    throw error
  }
}

async function readRedrivePolicy(client: SQSClient, queueUrl: string) {
  try {
    const command = new GetQueueAttributesCommand({ QueueUrl: queueUrl, AttributeNames: ['RedrivePolicy'] })
    const policy = (await client.send(command)).Attributes?.RedrivePolicy
    if (!policy) throw new TokenvaultError('dead_letter_queue_missing')
    const { deadLetterTargetArn, maxReceiveCount } = JSON.parse(policy)
    return { arn: String(deadLetterTargetArn), maxReceiveCount: Number(maxReceiveCount) }
  } catch (error) {
    throw queueError('GetQueueAttributes', error)
  }
}

/** arn:aws:sqs:region:account:name */
async function findQueue(client: SQSClient, arn: string): Promise<string> {
  const [, , , , account, name] = arn.split(':')
  try {
    const { QueueUrl: url } = await client.send(
      new GetQueueUrlCommand({ QueueName: name, ...(account ? { QueueOwnerAWSAccountId: account } : {}) }),
    )
    if (!url) throw new TokenvaultError('queue_unavailable', 'GetQueueUrl: the server gave no URL')
    return url
  } catch (error) {
    throw queueError('GetQueueUrl', error)
  }
}

function nameOf(queueUrl: string): string {
  return queueUrl.split('/').at(-1)!
}

interface Queues {
  readonly callTimeoutMilliseconds: number
  readonly client: SQSClient
  readonly sourceUrl: string
  readonly deadLetterUrl: string
}

interface Letter {
  readonly message: Message
  readonly originId: string
  readonly mark: string
}

/** Receive, send, delete: a message is deleted only after the source has taken it, so none is lost. */
async function move(queues: Queues, most: number, seal: OriginSeal, tried: Set<string>): Promise<DeadLetterMove> {
  const letters = (await receive(queues, most)).map(message => toLetter(message, seal))
  // Back again within one run: it cannot be taken yet, and sending it once more would go on for ever.
  const back = letters.filter(({ originId }) => tried.has(originId))
  const fresh = letters.filter(letter => !back.includes(letter))
  for (const { originId } of fresh) tried.add(originId)
  const notSent = await send(queues, fresh)
  const sent = fresh.filter(letter => !notSent.includes(letter))
  const undeleted = await remove(queues, sent)
  await release(queues, [...back, ...notSent])
  return { moved: sent.length, back: back.length, notSent: notSent.length, undeleted }
}

async function receive({ client, deadLetterUrl, callTimeoutMilliseconds }: Queues, most: number): Promise<Message[]> {
  try {
    const { Messages: messages = [] } = await client.send(
      new ReceiveMessageCommand({
        QueueUrl: deadLetterUrl,
        MaxNumberOfMessages: Math.min(most, 10),
        WaitTimeSeconds: waitSeconds,
        VisibilityTimeout: visibilityTimeoutSeconds,
        MessageSystemAttributeNames: ['SentTimestamp', 'MessageGroupId'],
        MessageAttributeNames: ['All'],
      }),
      { requestTimeout: waitSeconds * 1000 + callTimeoutMilliseconds },
    )
    return messages
  } catch (error) {
    throw queueError('ReceiveMessage', error)
  }
}

/** A letter that was sent again before goes on under its first identity. */
function toLetter(message: Message, seal: OriginSeal): Letter {
  const { MessageId: messageId = '', Body: body = '', Attributes: attributes } = message
  const mark = message.MessageAttributes?.[originAttribute]?.StringValue
  const origin = mark === undefined ? undefined : seal.open(mark, body, Date.now())
  if (mark !== undefined && origin !== undefined) return { message, originId: origin.messageId, mark }
  const sentAtMs = Number(attributes?.SentTimestamp)
  return { message, originId: messageId, mark: seal.seal({ messageId, sentAtMs }, body) }
}

/** @returns the letters that the source did not take */
async function send({ client, sourceUrl }: Queues, letters: readonly Letter[]): Promise<Letter[]> {
  const inOrder = isFifo(sourceUrl)
  const sizeOf = ({ message }: Letter) => Buffer.byteLength(message.Body ?? '') + 1024
  const notDone = await callInChunks(
    // In a FIFO queue each goes alone: a batch may fail in its middle and go on.
    chunk(letters, sizeOf, inOrder ? 0 : maxBatchBytes),
    entries =>
      client.send(
        new SendMessageBatchCommand({
          QueueUrl: sourceUrl,
          Entries: entries.map(({ message, mark }, index) => ({
            Id: String(index),
            MessageBody: message.Body,
            MessageAttributes: {
              ...foreignAttributes(message),
              [originAttribute]: { DataType: 'String', StringValue: mark },
            },
            ...(inOrder
              ? {
                  MessageGroupId: message.Attributes?.MessageGroupId ?? 'tokenvault',
                  // Of two sendings of one letter within 5 minutes SQS itself then takes one.
                  MessageDeduplicationId: `tokenvault-redrive-${message.MessageId}`,
                }
              : {}),
          })),
        }),
      ),
    { inOrder },
  )
  return notDone.map(({ entry }) => entry)
}

function foreignAttributes({ MessageAttributes: attributes = {} }: Message): Record<string, MessageAttributeValue> {
  const foreign = Object.entries(attributes).filter(([name]) => name !== originAttribute)
  return Object.fromEntries(
    foreign
      .slice(0, maxForeignAttributes)
      .map(([name, { DataType, StringValue, BinaryValue }]) => [
        name,
        { DataType, ...(BinaryValue === undefined ? { StringValue } : { BinaryValue }) },
      ]),
  )
}

/** @returns how many the dead-letter queue did not delete: they are received again, and then take effect no second time */
async function remove({ client, deadLetterUrl }: Queues, letters: readonly Letter[]): Promise<number> {
  const notDone = await callInChunks(
    chunk(letters),
    entries =>
      client.send(
        new DeleteMessageBatchCommand({
          QueueUrl: deadLetterUrl,
          Entries: entries.map(({ message }, index) => ({ Id: String(index), ReceiptHandle: message.ReceiptHandle })),
        }),
      ),
    { repeatSenderFaults: true },
  )
  return notDone.length
}

/** What was not moved is visible to others at once; where that fails, its visibility timeout does it. */
async function release({ client, deadLetterUrl }: Queues, letters: readonly Letter[]): Promise<void> {
  await callInChunks(chunk(letters), entries =>
    client.send(
      new ChangeMessageVisibilityBatchCommand({
        QueueUrl: deadLetterUrl,
        Entries: entries.map(({ message }, index) => ({
          Id: String(index),
          ReceiptHandle: message.ReceiptHandle,
          VisibilityTimeout: 0,
        })),
      }),
    ),
  )
}
