import { GetQueueAttributesCommand, type SQSClient } from '@aws-sdk/client-sqs'
import type { QueueDepth } from '../ingest/ports.ts'
import { queueError } from './queue-error.ts'

/** Approximate counts, as SQS gives them. @throws TokenvaultError `queue_unavailable` */
export async function readDepth(client: SQSClient, queueUrl: string): Promise<QueueDepth> {
  try {
    const { Attributes: attributes = {} } = await client.send(
      new GetQueueAttributesCommand({
        QueueUrl: queueUrl,
        AttributeNames: [
          'ApproximateNumberOfMessages',
          'ApproximateNumberOfMessagesNotVisible',
          'ApproximateNumberOfMessagesDelayed',
        ],
      }),
    )
    return {
      visible: Number(attributes.ApproximateNumberOfMessages ?? 0),
      inFlight: Number(attributes.ApproximateNumberOfMessagesNotVisible ?? 0),
      delayed: Number(attributes.ApproximateNumberOfMessagesDelayed ?? 0),
    }
  } catch (error) {
    throw queueError('GetQueueAttributes', error)
  }
}
