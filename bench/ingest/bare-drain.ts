import { DeleteMessageBatchCommand, ReceiveMessageCommand } from '@aws-sdk/client-sqs'
import { loadConfig } from '../../src/config/load.ts'
import { createSqsClient } from '../../src/queue/sqs-client.ts'
import type { Candidate } from './candidate.ts'

/** The SDK at its best: our client and as many receivers, each receives 10 and deletes them. What no worker can exceed. */
export const bareDrain: Candidate = async ({ worker }, done, stop) => {
  const { SQS_QUEUE_URL: QueueUrl, AWS_ENDPOINT_URL_SQS: endpoint, WORKER_RECEIVERS } = loadConfig('worker', worker)
  const credentials = { accessKeyId: 'emulator', secretAccessKey: 'emulator' }
  const client = createSqsClient({ queueUrl: QueueUrl, region: 'us-east-1', endpoint, credentials })
  const receiver = async () => {
    while (!stop.aborted) {
      const { Messages = [] } = await client.send(
        new ReceiveMessageCommand({
          QueueUrl,
          MaxNumberOfMessages: 10,
          WaitTimeSeconds: 1,
          MessageSystemAttributeNames: ['SentTimestamp', 'ApproximateReceiveCount'],
        }),
      )
      if (Messages.length === 0) continue
      const Entries = Messages.map(({ ReceiptHandle }, index) => ({ Id: String(index), ReceiptHandle }))
      await client.send(new DeleteMessageBatchCommand({ QueueUrl, Entries }))
      done(Messages.length)
    }
  }
  await Promise.all(Array.from({ length: WORKER_RECEIVERS }, receiver))
  client.destroy()
}
