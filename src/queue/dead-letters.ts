import { GetQueueAttributesCommand, GetQueueUrlCommand, type SQSClient } from '@aws-sdk/client-sqs'
import { TokenvaultError } from '../errors.ts'
import type { DeadLetterQueue } from '../ingest/ports.ts'
import type { Log } from '../log.ts'
import { isFifo } from './message.ts'
import { moveDeadLetters } from './move-dead-letters.ts'
import { createSqsClient, queueError, readDepth, type SqsClientOptions } from './sqs-client.ts'

export interface DeadLetterQueueOptions extends SqsClientOptions {
  readonly log: Log
}

/** A dead-letter queue with connections that must be closed. */
export interface SqsDeadLetterQueue extends DeadLetterQueue {
  close(): void
}

/**
 * Finds the dead-letter queue that the redrive policy of the source names.
 *
 * @param options.queueUrl the source
 * @throws TokenvaultError `dead_letter_queue_missing`, `queue_unavailable`
 */
export async function openDeadLetterQueue(options: DeadLetterQueueOptions): Promise<SqsDeadLetterQueue> {
  const { queueUrl: sourceUrl, callTimeoutMilliseconds = 10_000, log } = options
  const client = createSqsClient(options)
  try {
    const { arn, maxReceiveCount } = await readRedrivePolicy(client, sourceUrl)
    const deadLetterUrl = await findQueue(client, arn)
    const names = { queue: nameOf(sourceUrl), deadLetterQueue: nameOf(deadLetterUrl), maxReceiveCount }
    const queues = { client, sourceUrl, deadLetterUrl, callTimeoutMilliseconds, log }
    return {
      inOrder: isFifo(sourceUrl),
      async status() {
        const [depth, deadLetterDepth] = await Promise.all([
          readDepth(client, sourceUrl),
          readDepth(client, deadLetterUrl),
        ])
        return { ...names, depth, deadLetterDepth }
      },
      move: (most, seal, tried) => moveDeadLetters(queues, most, seal, tried),
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
    return parseRedrivePolicy(policy)
  } catch (error) {
    throw queueError('GetQueueAttributes', error)
  }
}

/** @param policy the queue's attribute of that name, as JSON */
export function parseRedrivePolicy(policy: string): { readonly arn: string; readonly maxReceiveCount: number } {
  const { deadLetterTargetArn, maxReceiveCount } = JSON.parse(policy)
  return { arn: String(deadLetterTargetArn), maxReceiveCount: Number(maxReceiveCount) }
}

/** @param arn arn:aws:sqs:region:account:name @throws TokenvaultError `queue_unavailable` */
export async function findQueue(client: SQSClient, arn: string): Promise<string> {
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
