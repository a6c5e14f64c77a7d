import type { Environment } from '../config/load.ts'
import type { Config } from '../config/variables.ts'
import type { Log } from '../log.ts'
import { openDeadLetterQueue, type SqsDeadLetterQueue } from '../queue/dead-letters.ts'
import type { OpenFirstIdentity } from '../queue/message.ts'
import type { SqsClientOptions } from '../queue/sqs-client.ts'
import { createSqsQueue, type SqsQueue } from '../queue/sqs-queue.ts'

/** Where the queue is, and who calls it. */
type QueueConfig = Pick<Config<'worker'>, 'SQS_QUEUE_URL' | 'AWS_REGION' | 'AWS_ENDPOINT_URL_SQS' | 'SQS_PROTOCOL'>

/**
 * The queue alone, for sending to it.
 *
 * @param openFirstIdentity for who receives from it, too
 */
export function composeQueue(
  config: QueueConfig,
  log: Log,
  environment: Environment,
  openFirstIdentity?: OpenFirstIdentity,
): SqsQueue {
  return createSqsQueue({ ...queueOptions(config, environment), log, openFirstIdentity })
}

/** The dead-letter queue of the queue. @throws TokenvaultError `dead_letter_queue_missing`, `queue_unavailable` */
export function composeDeadLetterQueue(
  config: QueueConfig,
  log: Log,
  environment: Environment,
): Promise<SqsDeadLetterQueue> {
  return openDeadLetterQueue({ ...queueOptions(config, environment), log })
}

function queueOptions(config: QueueConfig, environment: Environment): SqsClientOptions {
  const endpoint = config.AWS_ENDPOINT_URL_SQS
  // An emulator takes any credentials and most machines that run one have none. Real SQS is reached over TLS.
  const needsNone = endpoint?.startsWith('http:') && !environment['AWS_ACCESS_KEY_ID'] && !environment['AWS_PROFILE']
  return {
    queueUrl: config.SQS_QUEUE_URL,
    region: config.AWS_REGION,
    endpoint,
    protocol: config.SQS_PROTOCOL,
    credentials: needsNone ? { accessKeyId: 'emulator', secretAccessKey: 'emulator' } : undefined,
  }
}
