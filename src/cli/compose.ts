import type { Config, Environment } from '../config.ts'
import { type App, createApp } from '../http/app.ts'
import { createWorker, type WorkerTotals } from '../ingest/worker.ts'
import { openLocalKek } from '../kms/local.ts'
import type { Log } from '../log.ts'
import { createSqsQueue, type SqsQueue } from '../queue/sqs-queue.ts'
import { createAuditLog } from '../store/audit-log.ts'
import { createDatabase, type TokenvaultDatabase } from '../store/database.ts'
import { createIngestStore } from '../store/effects.ts'
import { createDatabaseHealth } from '../store/health.ts'
import { createKeyReader } from '../store/keys.ts'
import { createOriginalReader } from '../store/originals.ts'
import { createRecordAct } from '../vault/audit.ts'
import { createDetokenize } from '../vault/detokenize.ts'
import { FieldKeys } from '../vault/field-keys.ts'
import { loginFields } from '../vault/fields.ts'
import { openKeyset } from '../vault/keyset.ts'
import { createTokenize } from '../vault/tokenize.ts'
import { createTokenizer } from '../vault/tokenizer.ts'
import { version } from './version.ts'

/** A process that is ready to run and must be closed. */
export interface Composed<T> {
  readonly main: T
  close(): Promise<void>
}

/**
 * Puts a worker together. Every key is unwrapped before it exists, so it starts whole or not at all.
 *
 * @throws TokenvaultError `kek_unavailable`, `kek_mismatch`, `keyset_incomplete`, `keyset_invalid`, `store_unavailable`
 */
export async function composeWorker(
  config: Config<'worker'>,
  { log, environment, onBatch }: { log: Log; environment: Environment; onBatch?: (totals: WorkerTotals) => void },
): Promise<Composed<ReturnType<typeof createWorker>>> {
  const { database, keys } = await openVault(config, 'tokenvault worker')
  const queue = composeQueue(config, log, environment)
  const worker = createWorker({
    queue,
    tokenizer: createTokenizer(keys, loginFields),
    store: createIngestStore(database, loginFields),
    log,
    receivers: config.WORKER_RECEIVERS,
    batchMessages: config.WORKER_BATCH_MESSAGES,
    batchMilliseconds: config.WORKER_BATCH_MILLISECONDS,
    visibilityTimeoutSeconds: config.WORKER_VISIBILITY_TIMEOUT_SECONDS,
    onBatch,
  })
  const close = async () => {
    queue.close()
    await database.destroy()
  }
  return { main: worker, close }
}

/** The queue alone, for sending to it. */
export function composeQueue(
  config: Pick<Config<'worker'>, 'SQS_QUEUE_URL' | 'AWS_REGION' | 'AWS_ENDPOINT_URL_SQS'>,
  log: Log,
  environment: Environment,
): SqsQueue {
  const endpoint = config.AWS_ENDPOINT_URL_SQS
  // An emulator takes any credentials and most machines that run one have none. Real SQS is reached over TLS.
  const needsNone = endpoint?.startsWith('http:') && !environment['AWS_ACCESS_KEY_ID'] && !environment['AWS_PROFILE']
  return createSqsQueue({
    queueUrl: config.SQS_QUEUE_URL,
    region: config.AWS_REGION,
    endpoint,
    credentials: needsNone ? { accessKeyId: 'emulator', secretAccessKey: 'emulator' } : undefined,
    log,
  })
}

/**
 * Puts the API together, not yet listening.
 *
 * @throws TokenvaultError as composeWorker
 */
export async function composeApi(config: Config<'api'>, log: Log): Promise<Composed<App>> {
  const { database, keys } = await openVault(config, 'tokenvault api')
  const recordAct = createRecordAct(createAuditLog(database), keys, () => new Date())
  const app = await createApp({
    log,
    verbs: {
      detokenize: createDetokenize({ fields: loginFields, keys, originals: createOriginalReader(database), recordAct }),
      tokenize: createTokenize({ fields: loginFields, keys, recordAct }),
    },
    health: [createDatabaseHealth(database)],
    jwt: {
      jwksUrl: config.JWKS_URL,
      issuer: config.JWT_ISSUER,
      audience: config.JWT_AUDIENCE,
      algorithms: config.JWT_ALGORITHMS.split(','),
      maxLifetimeSeconds: config.JWT_MAX_LIFETIME_SECONDS,
    },
    ...(config.TRUST_PROXY === undefined ? {} : { trustProxy: config.TRUST_PROXY.split(',') }),
    rateLimitPerMinute: config.RATE_LIMIT_PER_MINUTE,
    version,
  })
  const close = async () => {
    await app.close()
    await database.destroy()
  }
  return { main: app, close }
}

async function openVault(
  config: Config<'worker'> | Config<'api'>,
  applicationName: string,
): Promise<{ database: TokenvaultDatabase; keys: FieldKeys }> {
  const kek = openLocalKek(config.KEK_FILE)
  const database = createDatabase({ url: config.DATABASE_URL, poolMax: config.DATABASE_POOL_MAX, applicationName })
  try {
    const keyset = await openKeyset(createKeyReader(database), kek, config.TENANT)
    return { database, keys: new FieldKeys(keyset, config.TENANT) }
  } catch (error) {
    await database.destroy()
    throw error
  }
}
