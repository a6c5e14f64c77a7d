import { loadConfig } from '../../config.ts'
import { composeQueue, composeWorker } from '../compose.ts'
import { createProgress, writeSummary } from '../ingest-summary.ts'
import { readInputBodies } from '../input-events.ts'
import { prepareDatabase } from '../prepare-database.ts'
import { stopSignal } from '../stop-signal.ts'
import { openStackLog, startStack } from './embedded-stack.ts'
import type { UpOptions } from './options.ts'

/** The main job once, on embedded servers: send, ingest until the queue is empty, say what was done. */
export async function drainOnce(options: UpOptions): Promise<void> {
  const bodies = options.input === undefined ? [] : await readInputBodies(options.input)
  const signal = stopSignal()
  const stack = await startStack({ dataDir: options.dataDir, freePorts: options.port === 0 })
  try {
    const log = openStackLog(stack)
    await prepareDatabase(loadConfig('migrate', { ...stack.environment, DATABASE_URL: stack.adminUrl }))
    const config = loadConfig('worker', { ...stack.environment, DATABASE_URL: stack.databaseUrl('tokenvault_worker') })
    const queue = composeQueue(config, log, process.env)
    await queue.send(bodies)
    queue.close()
    const progress = createProgress(process.stderr.isTTY ? 'live' : 'lines')
    const worker = await composeWorker(config, { log, environment: process.env, onBatch: progress.update })
    try {
      const totals = await worker.main.run({ drain: true, signal })
      progress.end()
      writeSummary(totals, options)
    } finally {
      await worker.close()
    }
  } finally {
    await stack.stop()
  }
}
