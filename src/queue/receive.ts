import {
  type Message,
  type MessageSystemAttributeName,
  ReceiveMessageCommand,
  type SQSClient,
} from '@aws-sdk/client-sqs'
import { TokenvaultError } from '../errors.ts'
import type { MessageQueue, ReceivedMessage } from '../ingest/ports.ts'
import { firstIdentityAttribute, isFifo, type OpenFirstIdentity, type ReadContext, readMessage } from './message.ts'
import { queueError } from './sqs-client.ts'

/** The most that one ReceiveMessage gives. */
const maxMessages = 10

/**
 * The `receive` verb over one client. An abort ends the long poll and gives no messages; it is not an error. What SQS had
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
  const inOrder = isFifo(queueUrl)
  const attributes: MessageSystemAttributeName[] = [
    'SentTimestamp',
    'ApproximateReceiveCount',
    ...(inOrder ? (['MessageGroupId'] as const) : []),
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
      return (reply.Messages ?? []).map(message => readReply(message, { receivedAtMs, inOrder, openFirstIdentity }))
    } catch (error) {
      if (signal?.aborted) return []
      throw queueError('ReceiveMessage', error)
    }
  }
}

/** One message of a ReceiveMessage reply. @throws TokenvaultError `queue_unavailable` for one that SQS would not give */
export function readReply(message: Message, context: ReadContext): ReceivedMessage {
  const read = readMessage(
    {
      messageId: message.MessageId,
      receiptHandle: message.ReceiptHandle,
      body: message.Body ?? '',
      attributes: message.Attributes,
      mark: message.MessageAttributes?.[firstIdentityAttribute]?.StringValue,
    },
    context,
  )
  if (typeof read !== 'string') return read
  throw new TokenvaultError('queue_unavailable', `ReceiveMessage: the server gave a message without ${read}`)
}
