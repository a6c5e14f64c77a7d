import { composeApi } from '../../compose/api.ts'
import { policyPlace, readPolicy } from '../../compose/policy.ts'
import { composeQueue } from '../../compose/queue.ts'
import { composeWorker } from '../../compose/worker.ts'
import { loadConfig } from '../../config/load.ts'
import { listen } from '../../http/server/connections.ts'
import type { WorkerTotals } from '../../ingest/worker/worker.ts'
import type { Log } from '../../log.ts'
import { readLogins } from '../../store/ingest.ts'
import { createDatabase } from '../../store/postgres/database.ts'
import type { UserLoginsTable } from '../../store/postgres/schema.ts'
import { loginFields } from '../../vault/fields/fields.ts'
import { stopped } from '../process/stop-signal.ts'
import { formatWelcome } from '../terminal/welcome.ts'
import { type EmbeddedStack, withPreferredPort } from './embedded-stack.ts'
import { bodyOf, readInputBodies } from './input-events.ts'
import { runThenClose } from './run-then-close.ts'
import { sampleEvents } from './sample-events.ts'
import { prepareEmbedded, startUp, type UpOptions } from './start-up.ts'
import { developmentJwtLifetimeSeconds, writeRunning } from './state.ts'

const host = '127.0.0.1'
const preferredApiPort = 3000
const sampleCount = 24
const rowsShown = 5
/** Longest wait for the first rows before the welcome is printed without them. */
const firstRowsMilliseconds = 5_000

/** Everything on this machine until Ctrl-C, for newcomers and for developers of other services. */
export async function serveUntilStopped(options: UpOptions): Promise<void> {
  const inputBodies = options.input === undefined ? undefined : await readInputBodies(options.input)
  const { stack, log, signal } = await startUp({
    dataDir: options.dataDir,
    freePorts: options.port === 0,
    environment: process.env,
    terminal: process.stdout,
  })
  // Last started, first stopped: the worker settles its messages while queue and database are still there.
  await runThenClose(async closing => {
    closing.push(() => stack.stop())
    if (signal.aborted) return
    await prepareEmbedded(stack)
    if (signal.aborted) return
    const api = await composeApi(
      loadConfig('api', { ...stack.environment, DATABASE_URL: stack.databaseUrl('tokenvault_api') }),
      log,
      {},
    )
    closing.push(() => api.close())
    const listenOn = (port: number) => listen(api.app, { host, port })
    const port = await (options.port === undefined
      ? withPreferredPort(preferredApiPort, listenOn)
      : listenOn(options.port))
    const apiUrl = `http://${host}:${port}`
    if (signal.aborted) return

    const bodies = inputBodies ?? (options.sample && (await readRows(stack, 1)).length === 0 ? sampleBodies() : [])
    const ingest = await startIngest(stack, log, bodies)
    closing.push(() => ingest.stop())
    await Promise.race([ingest.caughtUp, ingest.running, stopped(signal, firstRowsMilliseconds)])
    if (signal.aborted) return

    const databaseUrl = new URL(stack.adminUrl)
    databaseUrl.username = databaseUrl.password = ''
    writeRunning(stack.dataDir.path, {
      apiUrl,
      queueUrl: stack.sqs.queueUrl,
      databaseUrl: databaseUrl.href,
      jwksUrl: stack.issuer.jwksUrl,
    })
    process.stdout.write(
      formatWelcome({
        apiUrl,
        queueUrl: stack.sqs.queueUrl,
        jwksUrl: stack.issuer.jwksUrl,
        analystUrl: stack.databaseUrl('tokenvault_analyst'),
        dataDir: options.dataDir,
        rows: await readRows(stack, rowsShown),
        jwts: await signJwts(stack),
      }),
    )
    await Promise.race([stopped(signal), ingest.running])
  })
}

interface Ingest {
  /** Resolves when as many messages as were sent at the start have been received and stored. */
  readonly caughtUp: Promise<void>
  /** Rejects when the worker fails. */
  readonly running: Promise<unknown>
  stop(): Promise<void>
}

async function startIngest(stack: EmbeddedStack, log: Log, bodies: readonly string[]): Promise<Ingest> {
  const config = loadConfig('worker', { ...stack.environment, DATABASE_URL: stack.databaseUrl('tokenvault_worker') })
  const queue = await composeQueue(config, log, {})
  await queue.send(bodies)
  queue.close()
  const { promise: caughtUp, resolve } = Promise.withResolvers<void>()
  if (bodies.length === 0) resolve()
  const onBatch = ({ stored, quarantined, duplicates }: WorkerTotals) => {
    if (stored + quarantined + duplicates >= bodies.length) resolve()
  }
  const worker = await composeWorker(config, { log, environment: {}, onBatch })
  const stopping = new AbortController()
  const running = worker.run({ drain: false, signal: stopping.signal })
  const stop = async () => {
    stopping.abort()
    try {
      await running
    } finally {
      await worker.close()
    }
  }
  return { caughtUp, running, stop }
}

function sampleBodies(): string[] {
  // One message is not an event, so that the quarantine has something to show too.
  return [...sampleEvents(sampleCount, 1), { hello: 'no login event' }].map(bodyOf)
}

async function readRows(stack: EmbeddedStack, limit: number): Promise<UserLoginsTable[]> {
  const url = stack.databaseUrl('tokenvault_analyst')
  const database = createDatabase({ url, poolMax: 1, applicationName: 'tokenvault up' })
  try {
    return await readLogins(database, limit)
  } finally {
    await database.destroy()
  }
}

async function signJwts(stack: EmbeddedStack): Promise<ReadonlyMap<string, string>> {
  const lifetimeSeconds = developmentJwtLifetimeSeconds
  // `up` takes no POLICY_FILE, as it takes no other variable.
  const { roles } = readPolicy(policyPlace({}), loginFields)
  const signed = [...roles.keys()].map(async role => {
    return [role, await stack.issuer.sign({ subject: `dev-${role}`, roles: [role], lifetimeSeconds })] as const
  })
  return new Map(await Promise.all(signed))
}
