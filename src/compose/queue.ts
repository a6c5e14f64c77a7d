import type { AwsVariables } from '../aws/client-settings.ts'
import type { Environment } from '../config/load.ts'
import type { Config } from '../config/variables.ts'
import type { Log } from '../log.ts'
import { openDeadLetterQueue, type SqsDeadLetterQueue } from '../queue/dead-letters.ts'
import type { OpenFirstIdentity } from '../queue/message.ts'
import type { SqsClientOptions } from '../queue/sqs-client.ts'
import { createSqsQueue, type SqsQueue } from '../queue/sqs-queue.ts'
import { composeAwsSettings } from './aws.ts'

/** Where the queue is, and who calls it. */
export type QueueConfig = Pick<Config<'worker'>, 'SQS_QUEUE_URL' | 'SQS_PROTOCOL'> & AwsVariables

/**
 * The queue alone, for sending to it.
 *
 * @param environment what only the SDK reads; nothing of the shell's where it is empty
 * @param openFirstIdentity for who receives from it, too
 * @throws TokenvaultError `config_invalid` as readAwsSettings
 */
export async function composeQueue(
  config: QueueConfig,
  log: Log,
  environment: Environment,
  openFirstIdentity?: OpenFirstIdentity,
): Promise<SqsQueue> {
  return createSqsQueue({ ...(await queueOptions(config, environment)), log, openFirstIdentity })
}

/** The dead-letter queue of the queue. @throws TokenvaultError `config_invalid`, `dead_letter_queue_missing`, `queue_unavailable` */
export async function composeDeadLetterQueue(
  config: QueueConfig,
  log: Log,
  environment: Environment,
): Promise<SqsDeadLetterQueue> {
  return openDeadLetterQueue({ ...(await queueOptions(config, environment)), log })
}

/** @throws TokenvaultError `config_invalid` as readAwsSettings */
export async function queueOptions(config: QueueConfig, environment: Environment): Promise<SqsClientOptions> {
  const queueUrl = config.SQS_QUEUE_URL
  const settings = await composeAwsSettings('sqs', config, environment, queueUrl)
  return { ...settings, queueUrl, protocol: config.SQS_PROTOCOL }
}
