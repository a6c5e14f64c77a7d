import {
  type Message,
  type MessageSystemAttributeName,
  ReceiveMessageCommand,
  type SQSClient,
} from '@aws-sdk/client-sqs'
import { TokenvaultError } from '../errors.ts'
import type { FirstIdentity, MessageQueue, ReceivedMessage } from '../ingest/ports.ts'
import { firstIdentityAttribute } from './origin-attribute.ts'
import { queueError } from './queue-error.ts'
import { isFifo } from './sqs-client.ts'

/** Reads the mark of a message that was sent again; undefined where it is not genuine. */
export type OpenFirstIdentity = (mark: string, body: string) => FirstIdentity | undefined

/** The most that one ReceiveMessage gives. */
const maxMessages = 10

/** Last millisecond of the year 9999: what a later "SentTimestamp" says is no time. */
const latestSentAtMs = 253_402_300_799_999

/**
 * The `receive` verb over one client. An abort ends the long poll and gives no messages: it is no error. What SQS had
 * already put into an abandoned reply comes back by itself after the visibility timeout.
 *
 * @param callTimeoutMilliseconds what a call may take on top of its wait
 * @param openFirstIdentity reads the mark of a message that was sent again; marks are ignored without it
 */
export function createReceive(
  client: SQSClient,
  queueUrl: string,
  callTimeoutMilliseconds: number,
  openFirstIdentity?: OpenFirstIdentity,
): MessageQueue['receive'] {
  // On a standard queue a group says something about fairness and nothing about order.
  const attributes: MessageSystemAttributeName[] = [
    'SentTimestamp',
    'ApproximateReceiveCount',
    ...(isFifo(queueUrl) ? (['MessageGroupId'] as const) : []),
  ]
  return async ({ waitSeconds, visibilityTimeoutSeconds, signal }) => {
    if (signal?.aborted) return []
    try {
      const reply = await client.send(
        new ReceiveMessageCommand({
          QueueUrl: queueUrl,
          MaxNumberOfMessages: maxMessages,
          WaitTimeSeconds: waitSeconds,
          VisibilityTimeout: visibilityTimeoutSeconds,
          // Never AttributeNames beside it: servers that know both take one or the other.
          MessageSystemAttributeNames: attributes,
          ...(openFirstIdentity === undefined ? {} : { MessageAttributeNames: [firstIdentityAttribute] }),
        }),
        {
          requestTimeout: waitSeconds * 1000 + callTimeoutMilliseconds,
          ...(signal === undefined ? {} : { abortSignal: signal }),
        },
      )
      const receivedAtMs = performance.now()
      return (reply.Messages ?? []).map(message => toReceived(message, receivedAtMs, openFirstIdentity))
    } catch (error) {
      if (signal?.aborted) return []
      throw queueError('ReceiveMessage', error)
    }
  }
}

function toReceived(message: Message, receivedAtMs: number, openFirstIdentity?: OpenFirstIdentity): ReceivedMessage {
  const { MessageId: messageId, ReceiptHandle: receiptHandle } = message
  if (!messageId || !receiptHandle) throw incomplete('an id')
  // The day of a message decides where its delivery record stands. A guess could differ between two deliveries and let the
  // message take effect twice, so without SentTimestamp nothing is taken.
  const sentAtMs = Number(message.Attributes?.SentTimestamp)
  if (!Number.isSafeInteger(sentAtMs) || sentAtMs <= 0 || sentAtMs > latestSentAtMs) throw incomplete('a SentTimestamp')
  const body = message.Body ?? ''
  const mark = message.MessageAttributes?.[firstIdentityAttribute]?.StringValue
  return {
    messageId,
    receiptHandle,
    body,
    sentAtMs,
    receiveCount: Number(message.Attributes?.ApproximateReceiveCount) || 1,
    receivedAtMs,
    groupId: message.Attributes?.MessageGroupId,
    // A mark that does not open is no reason to refuse a message: it takes effect under its own id.
    ...(mark === undefined ? {} : { firstIdentity: openFirstIdentity?.(mark, body) }),
  }
}

function incomplete(what: string): TokenvaultError {
  return new TokenvaultError('queue_unavailable', `ReceiveMessage: the server gave a message without ${what}`)
}
