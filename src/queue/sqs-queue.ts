import { randomUUID } from 'node:crypto'
import {
  type MessageSystemAttributeName,
  ReceiveMessageCommand,
  SendMessageBatchCommand,
  type SQSClient,
} from '@aws-sdk/client-sqs'
import { TokenvaultError } from '../errors.ts'
import type { MessageQueue, OutgoingMessage, ReceivedMessage } from '../ingest/ports.ts'
import type { Log } from '../log.ts'
import { callInChunks, chunk, deleteInChunks, hideInChunks } from './batch-calls.ts'
import { firstIdentityAttribute, isFifo, type OpenFirstIdentity, readReply } from './message.ts'
import { createSqsClient, queueError, readDepth, type SqsClientOptions } from './sqs-client.ts'

export interface SqsQueueOptions extends SqsClientOptions {
  readonly log: Log
  /** For who receives: reads the marks of messages that were sent again. */
  readonly openFirstIdentity?: OpenFirstIdentity | undefined
}

/** A queue with connections that must be closed. */
export interface SqsQueue extends MessageQueue {
  close(): void
}

/** The most that one ReceiveMessage gives. */
const maxMessages = 10

/** SQS takes 1 MiB a request today and took 256 KiB for years; emulators still do. */
const maxBatchBytes = 256 * 1024

/**
 * An AWS SQS queue, or an emulator's. Opens no connection before the first call.
 *
 * - `receive`: an abort gives `[]`.
 * - `delete`: returns what was not deleted after bounded attempts and never throws; repeating it is safe.
 * - `release`, `extend`: what is no longer in flight is passed over, since it is visible already; throws
 *   `queue_unavailable` when the queue did not take the others. To SQS both are the same call.
 * - `send`: throws `queue_unavailable` when a body could not be sent; those before and beside it may have been. To a FIFO
 *   queue messages of one group go one after the other, because a batch may fail in its middle and go on.
 *
 * Every error is `queue_unavailable` with detail `<action>: <error name>`, so that no body can be in it.
 */
export function createSqsQueue(options: SqsQueueOptions): SqsQueue {
  const { queueUrl, log } = options
  const client = createSqsClient(options)
  const inOrder = isFifo(queueUrl)
  const hide = async (messages: readonly ReceivedMessage[], seconds: number) => {
    const notDone = await hideInChunks(client, queueUrl, messages, seconds)
    const refused = notDone.find(({ senderFault }) => !senderFault)
    if (refused) throw new TokenvaultError('queue_unavailable', `ChangeMessageVisibilityBatch: ${refused.code}`)
  }

  return {
    receive: createReceive(client, queueUrl, options.callTimeoutMilliseconds ?? 10_000, options.openFirstIdentity),

    async delete(messages) {
      const notDone = await deleteInChunks(client, queueUrl, messages)
      if (notDone.length > 0) log.warn({ event: 'messages_not_deleted', count: notDone.length, code: notDone[0]?.code })
      return notDone.map(({ entry }) => entry)
    },

    release: hide,
    extend: hide,

    async send(messages) {
      const entries = messages.map(message => toEntry(message, inOrder))
      const sizeOf = ({ MessageBody: body }: OutgoingEntry) => Buffer.byteLength(body)
      const isNewGroup = (current: readonly OutgoingEntry[], { MessageGroupId: groupId }: OutgoingEntry) =>
        current.every(other => other.MessageGroupId !== groupId)
      const chunks = chunk(entries, sizeOf, maxBatchBytes, inOrder ? isNewGroup : undefined)
      const notDone = await callInChunks(
        chunks,
        entries =>
          client.send(
            new SendMessageBatchCommand({
              QueueUrl: queueUrl,
              Entries: entries.map((entry, index) => ({ Id: String(index), ...entry })),
            }),
          ),
        { inOrder },
      )
      const first = notDone[0]
      if (first) {
        throw new TokenvaultError(
          'queue_unavailable',
          `SendMessageBatch: ${first.code}, ${notDone.length} messages not sent`,
        )
      }
    },

    depth: () => readDepth(client, queueUrl),

    close() {
      client.destroy()
    },
  }
}

/**
 * The `receive` verb over one client. An abort ends the long poll and gives no messages; it is not an error. What SQS had
 * already put into an abandoned reply comes back by itself after the visibility timeout.
 *
 * @param callTimeoutMilliseconds what a call may take on top of its wait
 * @param openFirstIdentity reads the mark of a message that was sent again; marks are ignored without it
 */
function createReceive(
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

interface OutgoingEntry {
  readonly MessageBody: string
  readonly MessageGroupId?: string
  readonly MessageDeduplicationId?: string
}

/** The deduplication id is made before the first attempt, so that one repeated by us or by the SDK is taken once. */
function toEntry(message: string | OutgoingMessage, inOrder: boolean): OutgoingEntry {
  const { body, groupId, deduplicationId }: OutgoingMessage = typeof message === 'string' ? { body: message } : message
  if (!inOrder) return { MessageBody: body }
  return {
    MessageBody: body,
    MessageGroupId: groupId ?? 'tokenvault',
    MessageDeduplicationId: deduplicationId ?? randomUUID(),
  }
}
