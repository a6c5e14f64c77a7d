import { join } from 'node:path'
import type { BuildAppOptions } from 'fauxqs'
import { TokenvaultError } from '../errors.ts'
import { listenFailure } from './free-port.ts'
import { closeSqsStorage, createSqsStore, loadSqsStorage, openSqsStorage, type SqsStore } from './sqs-storage.ts'

/** An SQS that runs in this process, for clients on this machine. */
export interface EmbeddedSqs {
  readonly port: number
  /** What `AWS_ENDPOINT_URL_SQS` must hold; any region and any credentials will do. */
  readonly endpoint: string
  readonly queueUrl: string
  readonly deadLetterQueueUrl: string
  stop(): Promise<void>
}

const host = '127.0.0.1'
const region = 'us-east-1'
const account = '000000000000'
const retentionSeconds = 14 * 24 * 3600
const maxReceiveCount = 5

/**
 * Starts fauxqs on 127.0.0.1 with a queue and its dead-letter queue `<name>-dlq` (5 receives, kept for 14 days).
 *
 * @param options.dataDir keeps messages in `sqs/` of this directory, across restarts and kill -9; in memory without it
 * @param options.port 0 picks a free one
 * @param options.visibilityTimeoutSeconds of the queue; 60 by default
 * @throws TokenvaultError `port_unavailable`; `embedded_failed` where fauxqs is not installed or the kept messages cannot be opened
 */
export async function startSqs(options: {
  readonly dataDir?: string
  readonly port: number
  readonly queueName?: string
  readonly visibilityTimeoutSeconds?: number
}): Promise<EmbeddedSqs> {
  const { queueName = 'login-events', visibilityTimeoutSeconds = 60 } = options
  const { buildApp } = await loadFauxqs()
  const store = await createSqsStore()
  // Without a host of its own fauxqs names queues by the address that the client used.
  store.host = ''
  store.region = region
  const app = buildApp({
    logger: false,
    stores: { sqsStore: store } as unknown as NonNullable<BuildAppOptions['stores']>,
  })
  app.addHook('onRequest', async (request, reply) => {
    if (!isSqsCall(request)) return reply.code(404).send({ error: 'Only SQS is served here' })
  })
  const storage = options.dataDir === undefined ? undefined : await openStorage(join(options.dataDir, 'sqs'))
  let endpoint: string
  try {
    endpoint = await app.listen({ host, port: options.port, exclusive: true })
  } catch (error) {
    storage?.close()
    throw listenFailure(error, 'SQS', options.port)
  }
  // No await until the queues are there: a client of the port's last owner must not find an empty SQS.
  if (storage !== undefined) loadSqsStorage(storage, store)
  const attributes = { MessageRetentionPeriod: String(retentionSeconds) }
  const deadLetter = keepQueue(store, endpoint, `${queueName}-dlq`, attributes)
  const queue = keepQueue(store, endpoint, queueName, {
    ...attributes,
    VisibilityTimeout: String(visibilityTimeoutSeconds),
    RedrivePolicy: JSON.stringify({ deadLetterTargetArn: deadLetter.arn, maxReceiveCount }),
  })
  let stopping: Promise<void> | undefined
  return {
    port: Number(new URL(endpoint).port),
    endpoint,
    queueUrl: queue.url,
    deadLetterQueueUrl: deadLetter.url,
    stop() {
      // After close, because a long poll that close cuts short still looks into its queue.
      stopping ??= app.close().then(() => storage && closeSqsStorage(storage))
      return stopping
    },
  }
}

/**
 * A package for development, as production has an SQS of its own. Not an optional one: npm on Node 20, which brings Node 24
 * along, leaves out optional packages that want a newer Node than its own.
 */
async function loadFauxqs(): Promise<typeof import('fauxqs')> {
  try {
    return await import('fauxqs')
  } catch (cause) {
    throw new TokenvaultError(
      'embedded_failed',
      'The package fauxqs is not installed; run `npm ci` without --omit=dev, or use an SQS of your own',
      { cause },
    )
  }
}

/**
 * fauxqs also serves S3, SNS and a page that shows the bodies of messages. None of these, nor a web page that was
 * resolved to this address (DNS rebinding), may reach the queue: browsers cannot send this media type across origins.
 */
function isSqsCall(request: { method: string; url: string; headers: Record<string, unknown> }): boolean {
  const name = String(request.headers['host']).split(':')[0]
  return (
    request.method === 'POST' &&
    request.url === '/' &&
    String(request.headers['content-type']).startsWith('application/x-amz-json-1.0') &&
    (name === host || name === 'localhost')
  )
}

/** Creates the queue, or brings a kept one to these attributes and this endpoint. Creating it again would empty it. */
function keepQueue(store: SqsStore, endpoint: string, name: string, attributes: Readonly<Record<string, string>>) {
  const url = `${endpoint}/${account}/${name}`
  const arn = `arn:aws:sqs:${region}:${account}:${name}`
  const kept = store.getQueueByName(name)
  if (kept === undefined) store.createQueue(name, url, arn, attributes)
  else {
    kept.url = url
    kept.setAttributes(attributes)
  }
  return { url, arn }
}

async function openStorage(directory: string) {
  try {
    return await openSqsStorage(directory)
  } catch (error) {
    throw new TokenvaultError('embedded_failed', 'SQS could not open sqs/fauxqs.db', { cause: error })
  }
}
