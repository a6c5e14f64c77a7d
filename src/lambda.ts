import { openIngestVault } from './compose/vault.ts'
import { backoffMilliseconds, pause } from './concurrency/waiting.ts'
import { type Environment, loadConfig } from './config/load.ts'
import { TokenvaultError } from './errors.ts'
import { lambdaReserveMilliseconds, processLambdaBatch } from './ingest/batch/process-batch.ts'
import { createFirstIdentitySeal } from './ingest/first-identity.ts'
import { createMetricLine } from './ingest/metrics/cloudwatch.ts'
import type { Observe } from './ingest/metrics/observe.ts'
import { createLog } from './log.ts'
import { readSqsEvent, type SqsBatchResponse, type SqsEvent, toBatchResponse } from './queue/lambda-event.ts'

/** What we read of the context that Lambda hands over beside an event. */
export interface LambdaContext {
  getRemainingTimeInMillis?(): number
}

/** The worker as an AWS Lambda function, for an SQS event source mapping. */
export interface LambdaFunction {
  /** @throws TokenvaultError `event_invalid`, as processLambdaBatch, and what is wrong with the configuration, the keys or the database */
  readonly handler: (event: SqsEvent, context?: LambdaContext) => Promise<SqsBatchResponse>
  /** For tests: Lambda itself ends functions without asking. */
  close(): Promise<void>
}

/**
 * Configured as the worker is, but for the queue, which is the mapping's. Keys are unwrapped and connections opened by the first
 * event, and reused by those that follow; where that fails, the next event tries again.
 *
 * @param writeMetrics takes one line an event, whatever came of it
 */
export function createLambdaFunction(
  environment: Environment,
  writeMetrics: (line: string) => void = line => process.stdout.write(line),
): LambdaFunction {
  const functionName = environment['AWS_LAMBDA_FUNCTION_NAME'] ?? 'tokenvault'
  let opening: ReturnType<typeof open> | undefined
  return {
    async handler(event, context) {
      const metrics = createMetricLine(functionName)
      const remaining = () => context?.getRemainingTimeInMillis?.() ?? 0
      opening ??= openPatiently(environment, remaining, metrics.observe)
      try {
        const { ingest } = await opening.catch((error: unknown) => {
          opening = undefined
          throw error
        })
        return await ingest(event, metrics.observe, remaining)
      } catch (error) {
        metrics.observe({ kind: 'batch_failed' })
        createLog('error').error({ event: 'batch_failed', err: error })
        // Lambda logs what is thrown. Text of a library may quote what it was given.
        if (error instanceof TokenvaultError) throw error
        throw new TokenvaultError('internal')
      } finally {
        writeMetrics(metrics.format(Date.now()))
      }
    },
    async close() {
      await (await opening)?.close()
    },
  }
}

/** As open; a database that is away is waited for while the function has time, as for what it stores. */
async function openPatiently(environment: Environment, remaining: () => number, observe: Observe) {
  for (let attempt = 1; ; attempt++) {
    try {
      return await open(environment)
    } catch (error) {
      if (!(error instanceof TokenvaultError)) throw error
      if (error.code.startsWith('store_')) observe({ kind: 'store_failed', code: error.code })
      const retryInMs = backoffMilliseconds(attempt)
      if (error.code !== 'store_unavailable' || remaining() < retryInMs + lambdaReserveMilliseconds) throw error
      await pause(retryInMs)
    }
  }
}

async function open(environment: Environment) {
  const config = loadConfig('lambda', environment)
  const log = createLog(config.LOG_LEVEL)
  const { keys, database, tokenizeMessages, store, followByTask } = await openIngestVault(config, {
    environment,
    applicationName: 'tokenvault lambda',
  })
  const firstIdentitySeal = createFirstIdentitySeal(keys)
  const takeUpKeys = followByTask(log)
  const ingest = async (event: SqsEvent, observe: Observe, remaining: () => number) => {
    // An instance may have been frozen for hours: its keys must not write that are disabled by now.
    await takeUpKeys()
    const messages = readSqsEvent(event, (mark, body) => firstIdentitySeal.open(mark, body, Date.now()))
    const deps = { tokenizeMessages, store, log, observe, remainingMilliseconds: remaining() }
    return toBatchResponse(await processLambdaBatch(messages, deps))
  }
  return {
    ingest,
    close: () => database.destroy(),
  }
}

export const { handler } = createLambdaFunction(process.env)
