import { type ComposedApi, composeApi } from '../../compose/api.ts'
import { loadConfig } from '../../config/load.ts'
import { listen } from '../../http/server/connections.ts'
import { stopped } from '../process/stop-signal.ts'
import { createStartProgress } from '../terminal/start-progress.ts'
import { withPreferredPort } from './embedded-stack.ts'
import { bodyOf, readInputBodies } from './input-events.ts'
import { runThenClose } from './run-then-close.ts'
import { sampleEvents } from './sample-events.ts'
import { startIngest } from './start-ingest.ts'
import { prepareEmbedded, readUpFiles, startUp, type UpOptions } from './start-up.ts'
import { forgetRunning, writeRunning } from './state.ts'
import { describeRunning, readRows } from './status.ts'

const host = '127.0.0.1'
const preferredApiPort = 3000
const sampleCount = 24
/** Longest wait for the first rows before the welcome is printed without them. */
const firstRowsMilliseconds = 30_000

/** Everything on this machine until Ctrl-C, for newcomers and for developers of other services. */
export async function serveUntilStopped(options: UpOptions): Promise<void> {
  const inputBodies = options.input === undefined ? undefined : await readInputBodies(options.input)
  const upFiles = readUpFiles(options)
  const { stderr, env } = process
  const progress = createStartProgress(stderr.isTTY && env['TERM'] !== 'dumb', text => void stderr.write(text))
  const started = await startUp({
    dataDir: options.dataDir,
    freePorts: options.port === 0,
    environment: env,
    files: upFiles.variables,
    terminal: process.stdout,
    onReady: progress.done,
  }).catch(error => {
    progress.end()
    throw error
  })
  const { stack, log, signal } = started
  const dataDir = stack.dataDir.path
  // Last started, first stopped: the worker settles its messages while queue and database are still there.
  await runThenClose(async closing => {
    closing.push(
      () => stack.stop(),
      async () => progress.end(),
    )
    forgetRunning(dataDir)
    if (signal.aborted) return
    await prepareEmbedded(stack, upFiles)
    progress.done('migrations')
    if (signal.aborted) return
    const api = await composeApi(
      loadConfig('api', {
        ...stack.environment,
        DATABASE_URL: stack.databaseUrl('tokenvault_api'),
        STORE_DATABASE_URL: stack.databaseUrl('tokenvault_store'),
        PRIVACY_DATABASE_URL: stack.databaseUrl('tokenvault_privacy'),
      }),
      log,
      {},
    )
    closing.push(() => api.close())
    const apiUrl = await listenOn(api, options.port)
    progress.done('API')
    if (signal.aborted) return

    const isNew = (await readRows(stack.databaseUrl('tokenvault_analyst'), 1)).length === 0
    const bodies = inputBodies ?? (options.sample && isNew ? sampleBodies() : [])
    const ingest = await startIngest(started, bodies, options)
    closing.push(() => ingest.stop())
    await Promise.race([ingest.caughtUp, ingest.running, stopped(signal, firstRowsMilliseconds)])
    progress.done('worker')
    if (signal.aborted) return

    const { policyFile, fieldsFile } = upFiles
    const { sqs, issuer, plainUrl: databaseUrl } = stack
    const { metricsUrl } = ingest
    const running = {
      apiUrl,
      queueUrl: sqs.queueUrl,
      databaseUrl,
      jwksUrl: issuer.jwksUrl,
      metricsUrl,
      policyFile,
      fieldsFile,
    }
    writeRunning(dataDir, running)
    const welcome = await describeRunning(running, options.dataDir, upFiles, process.stdout)
    progress.end()
    process.stdout.write(welcome)
    await Promise.race([stopped(signal), ingest.running])
  })
}

/** @returns the URL of the API */
async function listenOn(api: ComposedApi, given: number | undefined): Promise<string> {
  const launch = (port: number) => listen(api.app, { host, port })
  const port = await (given === undefined ? withPreferredPort(preferredApiPort, launch) : launch(given))
  return `http://${host}:${port}`
}

function sampleBodies(): string[] {
  // One message is not an event, so that the quarantine has something to show too.
  return [...sampleEvents(sampleCount, 1), { hello: 'no login event' }].map(bodyOf)
}
