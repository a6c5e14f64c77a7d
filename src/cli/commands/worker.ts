import { type Command, Option } from 'commander'
import { loadConfig } from '../../config/load.ts'
import type { Config } from '../../config/variables.ts'
import type { WorkerTotals } from '../../ingest/worker/worker.ts'
import { createLog, type Log } from '../../log.ts'
import { runAlone, runSupervised } from '../process/run-worker.ts'
import { serveMetrics } from '../process/serve-metrics.ts'
import { stopSignal } from '../process/stop-signal.ts'
import { createSupervisor, type Supervised } from '../process/supervise.ts'
import { createProgress, reportInterruptedDrain, reportReleased, writeSummary } from '../terminal/ingest-summary.ts'
import { environmentHelp, wholeNumber } from '../terminal/options.ts'

interface WorkerCommandOptions {
  readonly drain?: boolean
  readonly json?: boolean
  readonly processes?: number
  readonly supervised?: number
}

/** Options and action of `tokenvault worker`. */
export function configure(command: Command): void {
  command
    .option('--drain', 'end when the queue stays empty')
    .option('--json', 'print the summary as one JSON line')
    .option('--processes <n>', 'run this many processes; one that dies is started again', wholeNumber(1, 64))
    .addOption(new Option('--supervised <number>', 'one of the processes of a supervisor').argParser(Number).hideHelp())
    .addHelpText('after', environmentHelp('worker'))
    .action(async ({ drain = false, json = false, processes, supervised }: WorkerCommandOptions) => {
      const config = loadConfig('worker', process.env)
      const log = createLog(config.LOG_LEVEL)
      const signal = stopSignal()
      if (supervised !== undefined) {
        await runSupervised({ config, log, drain, signal }, supervised)
        if (drain && signal.aborted) process.exitCode = 1
        return
      }
      const progress = createProgress(drain && process.stderr.isTTY ? 'live' : 'none')
      const run = { config, log, drain, signal, onBatch: progress.update }
      const { totals, exitCode } =
        processes === undefined ? { totals: await runAlone(run), exitCode: 0 } : await runSeveral(run, processes)
      progress.end()
      writeSummary(totals, { json })
      process.exitCode = exitCode
      if (!drain || exitCode === 2) return
      if (signal.aborted) reportInterruptedDrain()
      else reportReleased(totals)
    })
}

async function runSeveral(
  run: {
    readonly config: Config<'worker'>
    readonly log: Log
    readonly drain: boolean
    readonly signal: AbortSignal
    readonly onBatch: (totals: WorkerTotals) => void
  },
  processes: number,
): Promise<Supervised> {
  const { config, log } = run
  const supervisor = createSupervisor({ ...run, processes, onTotals: run.onBatch })
  const { METRICS_HOST: host, METRICS_PORT: port } = config
  const served =
    port === undefined ? undefined : await serveMetrics({ host, port, read: () => supervisor.snapshots(), log })
  log.info({ event: 'supervisor_started', count: processes, pid: process.pid })
  try {
    return await supervisor.run()
  } finally {
    served?.close()
  }
}
