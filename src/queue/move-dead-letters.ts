import {
  type Message,
  type MessageAttributeValue,
  ReceiveMessageCommand,
  SendMessageBatchCommand,
  type SQSClient,
} from '@aws-sdk/client-sqs'
import type { DeadLetterMove, FirstIdentitySeal } from '../ingest/ports.ts'
import type { Log } from '../log.ts'
import { callInChunks, chunk, deleteInChunks, hideInChunks, type NotDone } from './batch-calls.ts'
import { firstIdentityAttribute, isFifo, partsOf, readMessage } from './message.ts'
import { queueError } from './sqs-client.ts'

/** Time for a batch to be sent and deleted; what is not deleted by then may be received, and sent, again. */
const visibilityTimeoutSeconds = 60
const waitSeconds = 1
const maxBatchBytes = 256 * 1024
/** SQS takes 10 attributes a message; one is ours. */
const maxForeignAttributes = 9

export interface MovingQueues {
  readonly client: SQSClient
  readonly sourceUrl: string
  readonly deadLetterUrl: string
  readonly callTimeoutMilliseconds: number
  readonly log: Log
}

interface Letter {
  readonly message: Message
  readonly receiptHandle: string
  readonly firstId: string
  readonly mark: string
}

/**
 * Receive, send, delete: a message is deleted only after the source has taken it, so none is lost.
 *
 * @see DeadLetterQueue.move
 */
export async function moveDeadLetters(
  queues: MovingQueues,
  most: number,
  seal: FirstIdentitySeal,
  tried: Set<string>,
): Promise<DeadLetterMove> {
  const received = await receive(queues, most)
  const letters = received.flatMap(message => toLetter(message, seal) ?? [])
  // They stay hidden until their time is over, so that this run does not meet them again.
  const unreadable = received.length - letters.length
  if (unreadable > 0) queues.log.warn({ event: 'dead_letters_unreadable', count: unreadable })
  // Back again within one run: it cannot be taken yet, and sending it once more would go on for ever.
  const back = letters.filter(({ firstId }) => tried.has(firstId))
  const fresh = letters.filter(letter => !back.includes(letter))
  for (const { firstId } of fresh) tried.add(firstId)
  const notSent = await send(queues, fresh)
  const sent = fresh.filter(letter => !notSent.includes(letter))
  const undeleted = await remove(queues, sent)
  await release(queues, [...back, ...notSent])
  return { moved: sent.length, back: back.length, notSent: notSent.length + unreadable, undeleted }
}

async function receive(
  { client, deadLetterUrl, callTimeoutMilliseconds }: MovingQueues,
  most: number,
): Promise<Message[]> {
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

/**
 * A letter that was sent again before goes on under its first identity, and the mark that it has.
 *
 * @returns undefined for one without an id or a time, which no mark could name: its neighbours go on without it
 */
function toLetter(message: Message, seal: FirstIdentitySeal): Letter | undefined {
  const parts = partsOf(message)
  const read = readMessage(parts, {
    receivedAtMs: performance.now(),
    inOrder: false,
    openFirstIdentity: (mark, body) => seal.open(mark, body, Date.now()),
  })
  if (typeof read === 'string') return undefined
  const { messageId, receiptHandle, body, sentAtMs, firstIdentity } = read
  if (parts.mark !== undefined && firstIdentity !== undefined)
    return { message, receiptHandle, firstId: firstIdentity.messageId, mark: parts.mark }
  return { message, receiptHandle, firstId: messageId, mark: seal.seal({ messageId, sentAtMs }, body) }
}

/** @returns the letters that the source did not take */
async function send({ client, sourceUrl, log }: MovingQueues, letters: readonly Letter[]): Promise<Letter[]> {
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
              [firstIdentityAttribute]: { DataType: 'String', StringValue: mark },
            },
            ...(inOrder
              ? {
                  MessageGroupId: message.Attributes?.MessageGroupId ?? 'tokenvault',
                  // If one letter is sent twice within 5 minutes, SQS itself then accepts it once.
                  MessageDeduplicationId: `tokenvault-redrive-${message.MessageId}`,
                }
              : {}),
          })),
        }),
      ),
    { inOrder },
  )
  warn(log, 'dead_letters_not_sent', notDone)
  return notDone.map(({ entry }) => entry)
}

function foreignAttributes({ MessageAttributes: attributes = {} }: Message): Record<string, MessageAttributeValue> {
  const foreign = Object.entries(attributes).filter(([name]) => name !== firstIdentityAttribute)
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
async function remove({ client, deadLetterUrl, log }: MovingQueues, letters: readonly Letter[]): Promise<number> {
  const notDone = await deleteInChunks(client, deadLetterUrl, letters)
  warn(log, 'dead_letters_not_deleted', notDone)
  return notDone.length
}

/** Makes what was not moved visible to others at once; if that fails, its visibility timeout does so later. */
async function release({ client, deadLetterUrl, log }: MovingQueues, letters: readonly Letter[]): Promise<void> {
  warn(log, 'dead_letters_not_released', await hideInChunks(client, deadLetterUrl, letters, 0))
}

function warn(log: Log, event: string, notDone: readonly NotDone<Letter>[]): void {
  if (notDone.length > 0) log.warn({ event, count: notDone.length, code: notDone[0]?.code })
}
