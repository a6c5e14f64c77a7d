import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Environment } from '../../config/load.ts'
import { readRunning } from './state.ts'

/**
 * The environment; or, where it names no queue, that of the worker of the `tokenvault up` on the directory, which takes
 * nothing from the shell.
 *
 * @param dataDir may hold nothing; then the environment stays as it is, and lacks what it lacks
 */
export function orEmbedded(environment: Environment, dataDir: string): Environment {
  if (environment['SQS_QUEUE_URL'] || environment['SQS_QUEUE_URL_FILE']) return environment
  const { queueUrl, databaseUrl } = readRunning(dataDir) ?? {}
  if (queueUrl === undefined || databaseUrl === undefined) return environment
  const url = new URL(databaseUrl)
  url.username = 'tokenvault_worker'
  url.password = readFileSync(join(dataDir, 'passwords', url.username), 'utf8').trim()
  return {
    SQS_QUEUE_URL: queueUrl,
    AWS_ENDPOINT_URL_SQS: new URL(queueUrl).origin,
    DATABASE_URL: url.href,
    KEK_FILE: join(dataDir, 'kek'),
  }
}
