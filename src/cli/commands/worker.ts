import type { Command } from 'commander'
import { loadConfig } from '../../config.ts'
import { createLog } from '../../log.ts'
import { composeWorker } from '../compose.ts'
import { environmentHelp } from '../environment-help.ts'
import { createProgress, writeSummary } from '../ingest-summary.ts'
import { stopSignal } from '../stop-signal.ts'

export function addWorkerCommand(program: Command): void {
  program
    .command('worker')
    .description('ingest login events from the queue until stopped; SIGTERM stores and settles what is in hand')
    .option('--drain', 'end when the queue stays empty')
    .option('--json', 'print the summary as one JSON line')
    .addHelpText('after', environmentHelp('worker'))
    .action(async ({ drain = false, json = false }: { drain?: boolean; json?: boolean }) => {
      const config = loadConfig('worker', process.env)
      const log = createLog(config.LOG_LEVEL)
      const progress = createProgress({ shown: drain && process.stderr.isTTY === true })
      const signal = stopSignal()
      const worker = await composeWorker(config, { log, environment: process.env, onBatch: progress.update })
      log.info({ event: 'worker_started', receivers: config.WORKER_RECEIVERS, batch: config.WORKER_BATCH_MESSAGES })
      try {
        const totals = await worker.main.run({ drain, signal })
        progress.end()
        writeSummary(totals, { json })
      } finally {
        await worker.close()
      }
    })
}
