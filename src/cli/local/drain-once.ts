import { composeQueue } from '../../compose/queue.ts'
import { composeWorker } from '../../compose/worker.ts'
import { loadConfig } from '../../config/load.ts'
import { createProgress, reportInterruptedDrain, reportReleased, writeSummary } from '../terminal/ingest-summary.ts'
import { readInputBodies } from './input-events.ts'
import { prepareEmbedded, readUpFiles, type StartedUp, startUp, type UpFiles, type UpOptions } from './start-up.ts'

/** The main job once, on embedded servers: send, ingest until the queue is empty, say what was done. */
export async function drainOnce(options: UpOptions): Promise<void> {
  const bodies = options.input === undefined ? [] : await readInputBodies(options.input)
  const upFiles = readUpFiles(options)
  const started = await startUp({
    dataDir: options.dataDir,
    freePorts: true,
    environment: process.env,
    files: upFiles.variables,
    terminal: process.stderr,
    onReady: () => {},
  })
  try {
    await drain(started, bodies, upFiles, options)
    if (started.signal.aborted) reportInterruptedDrain()
  } finally {
    await started.stack.stop()
  }
}

async function drain(
  { stack, log, signal }: StartedUp,
  bodies: readonly string[],
  upFiles: UpFiles,
  options: UpOptions,
): Promise<void> {
  if (signal.aborted) return
  await prepareEmbedded(stack, upFiles)
  if (signal.aborted) return
  const config = loadConfig('worker', { ...stack.environment, DATABASE_URL: stack.databaseUrl('tokenvault_worker') })
  const queue = await composeQueue(config, log, {})
  await queue.send(bodies)
  queue.close()
  const progress = createProgress(process.stderr.isTTY ? 'live' : 'lines')
  const worker = await composeWorker(config, { log, environment: {}, onBatch: progress.update })
  try {
    const totals = await worker.run({ drain: true, signal })
    progress.end()
    writeSummary(totals, options)
    if (!signal.aborted) reportReleased(totals)
  } finally {
    await worker.close()
  }
}
