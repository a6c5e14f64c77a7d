import { readFields } from '../../compose/fields.ts'
import { composeWorker } from '../../compose/worker.ts'
import type { Config } from '../../config/variables.ts'
import { createIngestMetrics } from '../../ingest/metrics/prometheus.ts'
import type { IngestTotals, WorkerTotals } from '../../ingest/worker/worker.ts'
import type { Log } from '../../log.ts'
import { eventFields } from '../../vault/fields/fields.ts'
import { openParentChannel } from './parent-channel.ts'
import { serveMetrics } from './serve-metrics.ts'

export interface RunOptions {
  readonly config: Config<'worker'>
  readonly log: Log
  readonly drain: boolean
  readonly signal: AbortSignal
  readonly onBatch: (totals: WorkerTotals) => void
}

/** One worker in this process, with metrics of its own where METRICS_PORT asks for them. */
export async function runAlone(options: RunOptions): Promise<IngestTotals> {
  const { config, log } = options
  if (config.METRICS_PORT === undefined) return runComposed(options)
  const metrics = createIngestMetrics(eventFields(readFields(config)))
  const read = async () => [await metrics.snapshot()]
  const served = await serveMetrics({ host: config.METRICS_HOST, port: config.METRICS_PORT, read, log })
  try {
    return await runComposed(options, metrics)
  } finally {
    served.close()
  }
}

/** One worker of several: it tells its supervisor totals and metrics, and stops when that says so or is gone. */
export async function runSupervised(options: Omit<RunOptions, 'onBatch'>, worker: number): Promise<void> {
  const metrics = createIngestMetrics(eventFields(readFields(options.config)), worker)
  const parent = openParentChannel(() => metrics.snapshot())
  const log = options.log.child({ worker })
  const signal = AbortSignal.any([options.signal, parent.stop])
  const onBatch = (totals: WorkerTotals) => parent.tell({ kind: 'totals', totals })
  let totals: IngestTotals | undefined
  try {
    totals = await runComposed({ ...options, log, signal, onBatch }, metrics)
  } finally {
    await parent.close(totals)
  }
}

async function runComposed(
  { config, log, drain, signal, onBatch }: RunOptions,
  metrics?: ReturnType<typeof createIngestMetrics>,
): Promise<IngestTotals> {
  const worker = await composeWorker(config, { log, environment: process.env, onBatch, observe: metrics?.observe })
  log.info({
    event: 'worker_started',
    receivers: config.WORKER_RECEIVERS,
    batch: config.WORKER_BATCH_MESSAGES,
    pid: process.pid,
  })
  try {
    return await worker.run({ drain, signal })
  } finally {
    await worker.close()
  }
}
