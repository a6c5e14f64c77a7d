import type { Environment } from '../config/load.ts'
import type { Config } from '../config/variables.ts'
import { createFirstIdentitySeal } from '../ingest/first-identity.ts'
import { type Observe, startDepthWatch } from '../ingest/metrics/observe.ts'
import { createRedriver } from '../ingest/redrive/quarantine.ts'
import { createWorker, type IngestWorker, type WorkerTotals, workAndRedrive } from '../ingest/worker/worker.ts'
import type { Log } from '../log.ts'
import type { TokenvaultDatabase } from '../store/postgres/database.ts'
import { createRedriveStore } from '../store/redrive.ts'
import { inspectDurability } from '../store/setup/inspect.ts'
import { createOpenQuarantined } from '../vault/quarantine/sealed-bodies.ts'
import { refuseOldErasures } from './erasures.ts'
import { composeSink } from './evidence.ts'
import { composeQueue } from './queue.ts'
import { openIngestVault } from './vault.ts'

/** A worker that is not yet running, and must be closed. */
export interface ComposedWorker extends IngestWorker {
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
): Promise<ComposedWorker> {
  const { log, environment, onBatch, observe } = options
  // Before the database, which would stay open if this failed.
  const queue = await composeQueue(config, log, environment, (mark, body) =>
    firstIdentitySeal.open(mark, body, Date.now()),
  )
  const { fields, clear, keys, database, tokenizeMessages, store, follow } = await openIngestVault(config, {
    environment,
    applicationName: 'tokenvault worker',
  })
  const firstIdentitySeal = createFirstIdentitySeal(keys)
  const warnings = await refuseRestored(config, environment, database, log)
    .then(() => inspectDurability(database))
    .catch(async error => {
      queue.close()
      await database.destroy()
      throw error
    })
  for (const { code: event, says: reason } of warnings) log.warn({ event, reason })
  const worker = createWorker({
    queue,
    tokenizeMessages,
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
    store: createRedriveStore(database, fields, clear),
    tokenizeMessages,
    openQuarantined: createOpenQuarantined(keys),
    log,
    observe,
    idleMilliseconds: redriveIdleMilliseconds,
  })
  const followed = follow(log)
  const stopDepthWatch = observe === undefined ? () => {} : startDepthWatch({ queue, observe, log })
  const close = async () => {
    stopDepthWatch()
    followed.stop()
    queue.close()
    await database.destroy()
  }
  return { ...workAndRedrive(worker, redriver), close }
}

/** A backup that was restored may hold people who were erased since: nothing is added to it. */
async function refuseRestored(
  config: Config<'worker'>,
  environment: Environment,
  database: TokenvaultDatabase,
  log: Log,
): Promise<void> {
  const sink = await composeSink(config, environment)
  try {
    await refuseOldErasures(database, sink?.erasures, log)
  } finally {
    sink?.close()
  }
}
