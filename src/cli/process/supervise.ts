import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { backoffMilliseconds, pause } from '../../concurrency/waiting.ts'
import type { Environment } from '../../config/load.ts'
import { TokenvaultError } from '../../errors.ts'
import { createSupervisorMetrics, type MetricsSnapshot } from '../../ingest/metrics/prometheus.ts'
import { type IngestTotals, noTotals, type WorkerTotals } from '../../ingest/worker/worker.ts'
import type { Log } from '../../log.ts'
import type { SupervisorRequest, WorkerReport } from './parent-channel.ts'
import { youngGenerationFlags } from './v8-flags.ts'

/** A process that ends sooner than this did not get to work. */
const quickMilliseconds = 10_000

/** Quick ends in a row after which starting it again is given up. */
const maxQuickEnds = 5

/** A scrape does not wait longer for a process that is busy or hangs; Prometheus itself waits 10 s. */
const snapshotMilliseconds = 3_000

const entry = fileURLToPath(new URL('../tokenvault.js', import.meta.url))

export interface Supervised {
  /** Sums over all processes; of one that was killed, what it had told by its last batch. */
  readonly totals: IngestTotals
  /** 2 when a process refused its configuration, 1 when a draining one failed, else 0. */
  readonly exitCode: 0 | 1 | 2
}

export interface Supervisor {
  /** Runs until the signal is aborted or, when draining, until all have ended. @throws TokenvaultError `worker_failed` */
  run(): Promise<Supervised>
  /** Metrics of every process that answers, and the supervisor's own. */
  snapshots(): Promise<readonly MetricsSnapshot[]>
}

/**
 * Runs `tokenvault worker` in N processes. They share nothing but the queue and the store, so it makes no difference to
 * what is stored; it uses more than one core, and starts anew what ends unasked: after 0.1 s, doubling to 10 s.
 */
export function createSupervisor(options: {
  readonly processes: number
  readonly drain: boolean
  readonly signal: AbortSignal
  readonly log: Log
  readonly onTotals: (totals: WorkerTotals) => void
  /** What the processes see in place of this one's environment. */
  readonly environment?: Environment
  /** Descriptor of what takes their log lines; standard error unless given. */
  readonly errorOutput?: number
}): Supervisor {
  const { drain, log } = options
  const metrics = createSupervisorMetrics()
  const stopping = new AbortController()
  const stop = stopping.signal
  const children = createChildren({ ...options, onCount: metrics.running })
  stop.addEventListener('abort', () => children.stop())
  let exitCode: Supervised['exitCode'] = 0
  let failure: TokenvaultError | undefined

  const keepRunning = async (worker: number) => {
    for (let quickEnds = 0; !stop.aborted; ) {
      const startedAtMs = performance.now()
      const { pid, code, signal } = await children.runOnce(worker)
      if (code === 0 && (stop.aborted || drain)) return
      quickEnds = performance.now() - startedAtMs < quickMilliseconds ? quickEnds + 1 : 1
      const ended = { event: 'worker_ended', worker, pid, code, signal }
      // It has said why, and it would say so again.
      const isFinal = code === 2 || (code === 1 && (drain || stop.aborted))
      if (isFinal) {
        exitCode = code === 2 ? 2 : exitCode || 1
        log.error(ended)
        if (code === 2) stopping.abort()
        return
      }
      if (stop.aborted) return log.warn(ended)
      if (quickEnds >= maxQuickEnds) {
        log.error(ended)
        failure ??= new TokenvaultError('worker_failed', `worker process ${worker} ended ${quickEnds} times in a row`)
        return stopping.abort()
      }
      const retryInMs = backoffMilliseconds(quickEnds)
      log.error({ ...ended, retryInMs })
      metrics.restarted()
      await pause(retryInMs, stop)
    }
  }

  return {
    async run() {
      const onAbort = () => stopping.abort()
      options.signal.addEventListener('abort', onAbort, { once: true })
      if (options.signal.aborted) onAbort()
      await Promise.all(Array.from({ length: options.processes }, (_, index) => keepRunning(index + 1)))
      options.signal.removeEventListener('abort', onAbort)
      if (failure !== undefined) throw failure
      return { totals: children.totals(), exitCode }
    },
    async snapshots() {
      const answered = await children.snapshots()
      return [await metrics.snapshot(), ...answered]
    },
  }
}

/** The worker processes that run, and what they tell. */
function createChildren(options: {
  readonly drain: boolean
  readonly onTotals: (totals: WorkerTotals) => void
  readonly environment?: Environment
  readonly errorOutput?: number
  /** Takes how many run, whenever that changes. */
  readonly onCount: (count: number) => void
}) {
  const running = new Set<ChildProcess>()
  const told = new Map<ChildProcess, WorkerTotals>()
  const waiting = new Map<number, (snapshot: MetricsSnapshot) => void>()
  let requests = 0

  const send = (child: ChildProcess, request: SupervisorRequest) => {
    // It may end at this very moment; its end is seen elsewhere.
    if (child.connected) child.send(request, () => {})
  }

  return {
    totals: () => sum(told.values()),
    stop() {
      for (const child of running) send(child, { kind: 'stop' })
    },
    /** Runs one worker process to its end. */
    async runOnce(worker: number) {
      const args = ['worker', '--supervised', String(worker), ...(options.drain ? ['--drain'] : [])]
      const child = fork(entry, args, {
        execArgv: [...process.execArgv, ...youngGenerationFlags('worker')],
        serialization: 'advanced',
        stdio: ['ignore', 'ignore', options.errorOutput ?? 'inherit', 'ipc'],
        ...(options.environment === undefined ? {} : { env: options.environment }),
      })
      child.on('message', (report: WorkerReport) => {
        if (report.kind === 'metrics') return waiting.get(report.request)?.(report.snapshot)
        told.set(child, report.totals)
        options.onTotals(sum(told.values()))
      })
      running.add(child)
      options.onCount(running.size)
      const disconnected = once(child, 'disconnect')
      const [code, signal]: [number | null, NodeJS.Signals | null] = (await once(child, 'exit')) as never
      await disconnected
      running.delete(child)
      options.onCount(running.size)
      return { pid: child.pid, code, signal }
    },
    /** Snapshots of the processes that answer in time. */
    async snapshots(): Promise<MetricsSnapshot[]> {
      const answers = [...running].map(child => {
        const request = ++requests
        const { promise, resolve } = Promise.withResolvers<MetricsSnapshot>()
        waiting.set(request, resolve)
        send(child, { kind: 'metrics', request })
        const late = sleep(snapshotMilliseconds, undefined, { ref: false })
        return Promise.race([promise, late]).finally(() => waiting.delete(request))
      })
      return (await Promise.all(answers)).filter(answer => answer !== undefined)
    },
  }
}

const nothing: IngestTotals = { ...noTotals, redriven: 0, returned: 0 }

function sum(totals: Iterable<WorkerTotals>): IngestTotals {
  const result: Record<string, number> = { ...nothing }
  for (const each of totals)
    for (const [name, count] of Object.entries(each)) result[name] = (result[name] ?? 0) + count
  return result as unknown as IngestTotals
}
