import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdirSync, openSync, readFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { dirname, join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import pg from 'pg'
import type { Test } from 'tap'

/** A database of its own for one test, in the cluster that all test processes share. */
export interface TestDatabase {
  /** URL of the superuser for this database. */
  readonly adminUrl: string
  readonly name: string
}

interface Keeper {
  readonly port: number
  readonly greeting: string
  readonly adminUrl: string
}

const directory = fileURLToPath(new URL('../../../.tap/embedded-postgres', import.meta.url))
const patienceMs = 60_000
let cluster: Promise<string> | undefined

/**
 * The superuser's URL of a Postgres that is started by whichever test process asks first (fsync off, new cluster) and
 * stopped when none is left. Roles are shared by all databases of the cluster; databases are not (createTestDatabase).
 */
export function testCluster(): Promise<string> {
  cluster ??= joinCluster()
  return cluster
}

/**
 * Creates an empty database; it is dropped when the test ends.
 *
 * @param options.findTemplate finds or makes the database of which it is to be a copy, instead
 */
export async function createTestDatabase(
  t: Pick<Test, 'teardown'>,
  { findTemplate = async () => 'template1' }: { readonly findTemplate?: (admin: pg.Client) => Promise<string> } = {},
): Promise<TestDatabase> {
  const url = new URL(await testCluster())
  const name = `test_${randomBytes(8).toString('hex')}`
  await runAsAdmin(url.href, async admin => {
    await admin.query(`CREATE DATABASE ${name} TEMPLATE ${await findTemplate(admin)}`)
  })
  t.teardown(() => runAsAdmin(url.href, admin => admin.query(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`)))
  const adminUrl = new URL(url)
  adminUrl.pathname = `/${name}`
  return { adminUrl: adminUrl.href, name }
}

/** Ends the shared Postgres now, unless another run of tests uses it. */
export async function endTestCluster(): Promise<void> {
  const socket = (await connectToKeeper())?.socket
  if (socket === undefined) return
  socket.ref().resume()
  socket.write('end')
  const isClosed = once(socket, 'close')
  await Promise.race([isClosed, setTimeout(patienceMs, undefined, { ref: false })])
  socket.destroy()
}

async function joinCluster(): Promise<string> {
  const deadline = Date.now() + patienceMs
  let starting: ReturnType<typeof startKeeper> | undefined
  while (Date.now() < deadline) {
    const keeper = await connectToKeeper()
    if (keeper !== undefined) return keeper.adminUrl
    // It ends at once when another process's keeper is starting or one is just ending.
    if (starting === undefined || starting.exitCode !== null) starting = startKeeper()
    await setTimeout(50)
  }
  throw new Error(`The shared Postgres of the tests did not start; see ${join(directory, 'keeper.log')}`)
}

function startKeeper() {
  mkdirSync(dirname(directory), { recursive: true })
  mkdirSync(directory, { recursive: true, mode: 0o700 })
  const log = openSync(join(directory, 'keeper.log'), 'a')
  const script = fileURLToPath(new URL('embedded-postgres-keeper.ts', import.meta.url))
  // `env -i`, because tap makes every child one of its own: the keeper is not one of its tests.
  const command = [process.execPath, '--disable-warning=ExperimentalWarning', script, directory]
  const keeper = spawn('env', ['-i', ...command], { detached: true, stdio: ['ignore', log, log] })
  keeper.unref()
  return keeper
}

/** The connection is what keeps the server running, and does not keep this process running. */
async function connectToKeeper(): Promise<{ adminUrl: string; socket: Socket } | undefined> {
  let keeper: Keeper
  try {
    keeper = JSON.parse(readFileSync(join(directory, 'keeper.json'), 'utf8'))
  } catch {
    return undefined
  }
  const socket = connect(keeper.port, '127.0.0.1')
  const greeting = await new Promise(resolve => {
    socket.once('data', data => resolve(data.toString('utf8')))
    socket.once('error', () => resolve(undefined)).once('close', () => resolve(undefined))
  })
  // A killed keeper's port may belong to somebody else now.
  if (greeting === keeper.greeting) return { adminUrl: keeper.adminUrl, socket: socket.unref() }
  socket.destroy()
  return undefined
}

/** Runs something over a connection of its own. */
export async function runAsAdmin(connectionString: string, run: (admin: pg.Client) => Promise<unknown>): Promise<void> {
  const client = new pg.Client({ connectionString })
  await client.connect()
  try {
    await run(client)
  } finally {
    await client.end()
  }
}
