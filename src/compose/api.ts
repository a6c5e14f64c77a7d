import type { Config, Environment } from '../config/load.ts'
import { type App, createApp } from '../http/app.ts'
import { clearProperties } from '../ingest/events/login-event.ts'
import { createOriginSeal } from '../ingest/message-origin.ts'
import type { Observe } from '../ingest/metrics/observe.ts'
import { createRedriver } from '../ingest/redrive/quarantine.ts'
import { type IngestWorker, workAndRedrive } from '../ingest/work-and-redrive.ts'
import { startDepthWatch } from '../ingest/worker/depth-watch.ts'
import { createWorker, type WorkerTotals } from '../ingest/worker/worker.ts'
import type { Log } from '../log.ts'
import { type ApprovalWebhook, createApprovalWebhook } from '../publish/approval-webhook.ts'
import { openDeadLetterQueue, type SqsDeadLetterQueue } from '../queue/dead-letters.ts'
import type { OpenOrigin } from '../queue/receive.ts'
import type { SqsClientOptions } from '../queue/sqs-client.ts'
import { createSqsQueue, type SqsQueue } from '../queue/sqs-queue.ts'
import { createActLog } from '../store/action-log.ts'
import { createApprovalReader } from '../store/approvals.ts'
import { createIdempotencyStore } from '../store/idempotency.ts'
import { createOriginalReader } from '../store/originals.ts'
import { createDatabaseHealth } from '../store/postgres/health.ts'
import { createQuarantineStore } from '../store/quarantine.ts'
import { createRedriveStore } from '../store/redrive.ts'
import { createSuspensionReader } from '../store/suspensions.ts'
import { signReceipt } from '../tlog/receipt.ts'
import { notifyingApprovers } from '../vault/admission/approval-notice.ts'
import { createApprovalVerbs } from '../vault/admission/approvals.ts'
import { createRecordAct } from '../vault/admission/record-action.ts'
import { createSuspensionVerbs } from '../vault/admission/suspensions.ts'
import { createOpenQuarantined } from '../vault/quarantine/open.ts'
import { createQuarantineVerbs } from '../vault/quarantine/verbs.ts'
import { createDetokenize } from '../vault/tokens/detokenize.ts'
import { createTokenize } from '../vault/tokens/tokenize.ts'
import { composeEvidence } from './evidence.ts'
import { readFields } from './fields.ts'
import { policyPlace } from './read-policy.ts'
import { openIngestVault, openSigningVault } from './vault.ts'
import { version } from './version.ts'
import { watchPolicy } from './watch-policy.ts'

/** A process that is ready to run and must be closed. */
export interface Composed<T> {
  readonly main: T
  close(): Promise<void>
}

/** How often a worker asks whether an operator wants something redriven: one look at an index. */
const redriveIdleMilliseconds = 2_000

/**
 * Puts a worker together, whole or not at all.
 *
 * @throws TokenvaultError as openIngestVault
 */
export async function composeWorker(
  config: Config<'worker'>,
  options: {
    readonly log: Log
    readonly environment: Environment
    readonly onBatch?: ((totals: WorkerTotals) => void) | undefined
    readonly observe?: Observe | undefined
  },
): Promise<Composed<IngestWorker>> {
  const { log, environment, onBatch, observe } = options
  // Before the database, which would stay open if this failed.
  const queue = composeQueue(config, log, environment, (mark, body) => originSeal.open(mark, body, Date.now()))
  const { fields, keys, database, tokenizer, store } = await openIngestVault(config, 'tokenvault worker')
  const originSeal = createOriginSeal(keys)
  const worker = createWorker({
    queue,
    tokenizer,
    store,
    log,
    receivers: config.WORKER_RECEIVERS,
    batchMessages: config.WORKER_BATCH_MESSAGES,
    batchMilliseconds: config.WORKER_BATCH_MILLISECONDS,
    visibilityTimeoutSeconds: config.WORKER_VISIBILITY_TIMEOUT_SECONDS,
    onBatch,
    observe,
  })
  const redriver = createRedriver({
    store: createRedriveStore(database, fields),
    tokenizer,
    openQuarantined: createOpenQuarantined(keys),
    log,
    observe,
    idleMilliseconds: redriveIdleMilliseconds,
  })
  const stopDepthWatch = observe === undefined ? () => {} : startDepthWatch({ queue, observe, log })
  const close = async () => {
    stopDepthWatch()
    queue.close()
    await database.destroy()
  }
  return { main: workAndRedrive(worker, redriver), close }
}

/** Where the queue is, and who calls it. */
type QueueConfig = Pick<Config<'worker'>, 'SQS_QUEUE_URL' | 'AWS_REGION' | 'AWS_ENDPOINT_URL_SQS' | 'SQS_PROTOCOL'>

/**
 * The queue alone, for sending to it.
 *
 * @param openOrigin for who receives from it, too
 */
export function composeQueue(
  config: QueueConfig,
  log: Log,
  environment: Environment,
  openOrigin?: OpenOrigin,
): SqsQueue {
  return createSqsQueue({ ...queueOptions(config, environment), log, openOrigin })
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

/**
 * Puts the API together, not yet listening.
 *
 * @throws TokenvaultError as composeWorker, and `policy_invalid`
 */
export async function composeApi(config: Config<'api'>, log: Log): Promise<Composed<App>> {
  const watched = watchPolicy(policyPlace(config), { fields: readFields(config), log })
  const policy = watched.current
  const vault = await openSigningVault(config, 'tokenvault api').catch(error => {
    watched.close()
    throw error
  })
  const { fields, database, keys, signer } = vault
  const recordAct = createRecordAct(createActLog(database), keys, () => new Date(), policy)
  const webhook = composeApprovalWebhook(config, log)
  const recordRequest = webhook === undefined ? recordAct : notifyingApprovers(recordAct, webhook.notifyApprovers)
  const originals = createOriginalReader(database)
  const evidence = composeEvidence(config, vault, { policy, recordAct }, log)
  const app = await createApp({
    log,
    verbs: {
      detokenize: createDetokenize({ fields, keys, originals, recordAct: recordRequest, policy }),
      tokenize: createTokenize({ fields, keys, recordAct, policy }),
      quarantine: createQuarantineVerbs({
        fields,
        clearProperties,
        store: createQuarantineStore(database),
        openQuarantined: createOpenQuarantined(keys),
        recordAct,
        policy,
      }),
      approvals: createApprovalVerbs({ approvals: createApprovalReader(database), recordAct, policy }),
      suspensions: createSuspensionVerbs({ suspensions: createSuspensionReader(database), recordAct, policy }),
      ...evidence.verbs,
    },
    idempotency: createIdempotencyStore(database),
    signReceipt: place => signReceipt(signer, place),
    health: [createDatabaseHealth(database)],
    jwt: {
      rolesClaims: () => policy().rolesClaims,
      jwksUrl: config.JWKS_URL,
      issuer: config.JWT_ISSUER,
      audience: config.JWT_AUDIENCE,
      algorithms: config.JWT_ALGORITHMS.split(','),
      maxLifetimeSeconds: config.JWT_MAX_LIFETIME_SECONDS,
    },
    ...(config.TRUST_PROXY === undefined ? {} : { trustProxy: config.TRUST_PROXY.split(',') }),
    rateLimitPerMinute: config.RATE_LIMIT_PER_MINUTE,
    version,
  }).catch(async error => {
    watched.close()
    await database.destroy()
    throw error
  })
  evidence.start()
  const close = async () => {
    watched.close()
    await app.close()
    // After the requests under way, of which each may have had something to tell.
    await webhook?.close()
    // The last request is in the last checkpoint.
    await evidence.close()
    await database.destroy()
  }
  return { main: app, close }
}

function composeApprovalWebhook(config: Config<'api'>, log: Log): ApprovalWebhook | undefined {
  const { APPROVAL_WEBHOOK_URL: url, APPROVAL_WEBHOOK_SECRET: secret } = config
  return url === undefined || secret === undefined ? undefined : createApprovalWebhook({ url, secret, log })
}
