import { closeSync, openSync } from 'node:fs'
import { readFields } from '../../compose/fields.ts'
import { composeQueue } from '../../compose/queue.ts'
import { composeWorker } from '../../compose/worker.ts'
import { type Environment, loadConfig } from '../../config/load.ts'
import { TokenvaultError } from '../../errors.ts'
import { createIngestMetrics, type MetricsSnapshot } from '../../ingest/metrics/prometheus.ts'
import type { WorkerTotals } from '../../ingest/worker/worker.ts'
import { eventFields } from '../../vault/fields/fields.ts'
import { serveMetrics } from '../process/serve-metrics.ts'
import { createSupervisor } from '../process/supervise.ts'
import { runThenClose } from './run-then-close.ts'
import type { StartedUp, UpOptions } from './start-up.ts'

/** The worker of `tokenvault up`, or several, at work. */
export interface Ingest {
  readonly metricsUrl: string | undefined
  /** Resolves when as many messages as were sent at the start have been received and stored. */
  readonly caughtUp: Promise<void>
  /** Rejects when the worker fails. */
  readonly running: Promise<unknown>
  stop(): Promise<void>
}

const host = '127.0.0.1'

/** Sends the bodies, and starts what `tokenvault worker` is in production: with --processes and METRICS_PORT, as there. */
export async function startIngest(
  started: StartedUp,
  bodies: readonly string[],
  options: Pick<UpOptions, 'metrics' | 'processes'>,
): Promise<Ingest> {
  const { stack, log } = started
  const environment = { ...stack.environment, DATABASE_URL: stack.databaseUrl('tokenvault_worker') }
  const queue = await composeQueue(loadConfig('worker', environment), log, {})
  await queue.send(bodies)
  queue.close()
  const { promise: caughtUp, resolve } = Promise.withResolvers<void>()
  if (bodies.length === 0) resolve()
  const onTotals = ({ stored, quarantined, duplicates }: WorkerTotals) => {
    if (stored + quarantined + duplicates >= bodies.length) resolve()
  }
  const closing: (() => Promise<void>)[] = []
  const stopping = new AbortController()
  const work = await startWork(started, environment, { ...options, onTotals, signal: stopping.signal, closing })
  closing.push(async () => {
    stopping.abort()
    await work.running
  })
  const stop = () => runThenClose(async steps => void steps.push(...closing))
  try {
    const metricsUrl = await openMetrics(started, work.snapshots, options.metrics, closing)
    return { metricsUrl, caughtUp, running: work.running, stop }
  } catch (error) {
    await stop()
    throw error
  }
}

interface Work {
  readonly running: Promise<unknown>
  readonly snapshots: () => Promise<readonly MetricsSnapshot[]>
}

async function startWork(
  { stack, log, logLevel }: StartedUp,
  environment: Environment,
  options: Pick<UpOptions, 'metrics' | 'processes'> & {
    readonly onTotals: (totals: WorkerTotals) => void
    readonly signal: AbortSignal
    readonly closing: (() => Promise<void>)[]
  },
): Promise<Work> {
  const { processes, onTotals, signal, closing } = options
  if (processes === undefined) {
    const config = loadConfig('worker', environment)
    const metrics = options.metrics === undefined ? undefined : createIngestMetrics(eventFields(readFields(config)))
    const worker = await composeWorker(config, { log, environment: {}, onBatch: onTotals, observe: metrics?.observe })
    closing.push(() => worker.close())
    const running = worker.run({ drain: false, signal })
    return { running, snapshots: async () => (metrics === undefined ? [] : [await metrics.snapshot()]) }
  }
  const logFile = openSync(stack.dataDir.file('tokenvault.log'), 'a', 0o600)
  closing.push(async () => closeSync(logFile))
  const supervisor = createSupervisor({
    processes,
    drain: false,
    signal,
    log,
    onTotals,
    environment: { ...shellOfNode(), ...environment, LOG_LEVEL: logLevel },
    errorOutput: logFile,
  })
  const running = supervisor.run().then(({ exitCode }) => {
    if (exitCode !== 0) throw new TokenvaultError('worker_failed', 'a worker process ended; tokenvault.log says why')
  })
  return { running, snapshots: supervisor.snapshots }
}

/** What Node and the system need of the shell; of tokenvault’s and the cloud’s variables none reaches a worker process. */
function shellOfNode(): Environment {
  const names = ['PATH', 'HOME', 'TMPDIR', 'SystemRoot', 'NODE_OPTIONS', 'NODE_COMPILE_CACHE']
  return Object.fromEntries(names.flatMap(name => (process.env[name] ? [[name, process.env[name]]] : [])))
}

async function openMetrics(
  { log }: StartedUp,
  read: Work['snapshots'],
  port: number | undefined,
  closing: (() => Promise<void>)[],
): Promise<string | undefined> {
  if (port === undefined) return undefined
  const metrics = await serveMetrics({ host, port, read, log })
  closing.push(async () => metrics.close())
  return `http://${host}:${metrics.port}/metrics`
}
