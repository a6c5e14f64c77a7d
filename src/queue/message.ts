import type { Message } from '@aws-sdk/client-sqs'
import { TokenvaultError } from '../errors.ts'
import type { FirstIdentity, ReceivedMessage } from '../ingest/ports.ts'

/** Message attribute that holds the mark of a message that was sent again; see FirstIdentitySeal. */
export const firstIdentityAttribute = 'tokenvault-origin'

/** Reads the mark of a message that was sent again; undefined where it is not genuine. */
export type OpenFirstIdentity = (mark: string, body: string) => FirstIdentity | undefined

/** Last millisecond of the year 9999: what a later "SentTimestamp" says cannot be a time. */
const latestSentAtMs = 253_402_300_799_999

/** What both a ReceiveMessage reply and a Lambda event say of a message. Any part may be missing, or make no sense. */
export interface MessageParts {
  readonly messageId: string | undefined
  readonly receiptHandle: string | undefined
  readonly body: string | undefined
  /** By the names that SQS gives them: SentTimestamp, ApproximateReceiveCount, MessageGroupId. */
  readonly attributes: Readonly<Record<string, string | undefined>> | undefined
  readonly mark: string | undefined
}

/** Whether the queue keeps the order of its groups: AWS asks for this name, and emulators follow. @param queue its URL or ARN */
export function isFifo(queue: string): boolean {
  return queue.endsWith('.fifo')
}

export interface ReadContext {
  /** `performance.now()` milliseconds. */
  readonly receivedAtMs: number
  /** The queue is FIFO: on a standard queue a group is about fairness and not about order. */
  readonly inOrder: boolean
  /** Marks are ignored without it. */
  readonly openFirstIdentity?: OpenFirstIdentity | undefined
}

/**
 * @returns the message, or the name of a part that is missing or makes no sense
 */
export function readMessage(
  { messageId, receiptHandle, body, attributes, mark }: MessageParts,
  { receivedAtMs, inOrder, openFirstIdentity }: ReadContext,
): ReceivedMessage | 'an id' | 'a body' | 'a SentTimestamp' {
  if (!isText(messageId) || !isText(receiptHandle)) return 'an id'
  if (typeof body !== 'string') return 'a body'
  // The day of a message decides where its delivery record stands. A guess could differ between two deliveries and let
  // the message take effect twice, so without SentTimestamp nothing is taken.
  const sentAtMs = Number(attributes?.['SentTimestamp'])
  if (!Number.isSafeInteger(sentAtMs) || sentAtMs <= 0 || sentAtMs > latestSentAtMs) return 'a SentTimestamp'
  return {
    messageId,
    receiptHandle,
    body,
    sentAtMs,
    receiveCount: Number(attributes?.['ApproximateReceiveCount']) || 1,
    receivedAtMs,
    groupId: inOrder ? attributes?.['MessageGroupId'] : undefined,
    // A message is not refused for a mark that does not open: it takes effect under its own id.
    ...(mark === undefined ? {} : { firstIdentity: openFirstIdentity?.(mark, body) }),
  }
}

/** What a ReceiveMessage reply says of one message. */
export function partsOf(message: Message): MessageParts {
  return {
    messageId: message.MessageId,
    receiptHandle: message.ReceiptHandle,
    body: message.Body ?? '',
    attributes: message.Attributes,
    mark: message.MessageAttributes?.[firstIdentityAttribute]?.StringValue,
  }
}

/** One message of a ReceiveMessage reply. @throws TokenvaultError `queue_unavailable` for one that SQS would not give */
export function readReply(message: Message, context: ReadContext): ReceivedMessage {
  const read = readMessage(partsOf(message), context)
  if (typeof read !== 'string') return read
  throw new TokenvaultError('queue_unavailable', `ReceiveMessage: the server gave a message without ${read}`)
}

function isText(value: unknown): value is string {
  return typeof value === 'string' && value !== ''
}
