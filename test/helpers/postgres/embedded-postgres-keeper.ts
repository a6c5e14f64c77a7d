/**
 * Holds the one Postgres that all test processes share, for as long as any of them is connected here. A process that
 * ends, however it ends, is disconnected by the kernel; so no run, finished or killed, leaves a server behind.
 * Started by embedded-postgres.ts.
 */
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { renameSync, rmSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { openDataDir } from '../../../src/embedded/data-dir.ts'
import { startPostgres } from '../../../src/embedded/postgres.ts'
import { preparePostgres } from '../../../src/embedded/postgres-binaries.ts'
import { hasCluster, postgresUser } from '../../../src/embedded/postgres-cluster.ts'
import { stopSurvivors } from '../../../src/embedded/postgres-survivors.ts'
import { TokenvaultError } from '../../../src/errors.ts'

const idleMs = 10_000

const dataDir = open(process.argv[2] ?? '')
const cluster = dataDir.file('postgres')
// Always a new cluster: roles and databases of earlier code must not hide what today's migrations lack.
if (hasCluster(cluster)) await stopSurvivors(cluster, preparePostgres(postgresUser(cluster)))
rmSync(cluster, { recursive: true, force: true })
const postgres = await startPostgres({ dataDir: dataDir.path, port: 0, isDurable: false })

const clients = new Set<Socket>()
const greeting = randomBytes(16).toString('hex')
const state = dataDir.file('keeper.json')
let idleTimer = setTimeout(end, idleMs)
let isEnding = false
let isLastRun = false

const server = createServer(socket => {
  if (isEnding) return socket.destroy()
  clearTimeout(idleTimer)
  clients.add(socket)
  isLastRun = false
  socket.write(greeting)
  socket.on('error', () => {})
  socket.on('data', () => {
    isLastRun = true
    if (clients.size === 1) void end()
    // Another run uses it still; two that waited for each other's end would wait for ever.
    else socket.destroy()
  })
  socket.on('close', () => {
    clients.delete(socket)
    if (clients.size === 0) idleTimer = setTimeout(end, isLastRun ? 0 : idleMs)
  })
})
await once(server.listen({ host: '127.0.0.1', port: 0 }), 'listening')
const { port } = server.address() as AddressInfo
writeFileSync(`${state}.new`, JSON.stringify({ port, greeting, adminUrl: postgres.adminUrl }), { mode: 0o600 })
renameSync(`${state}.new`, state)

async function end() {
  if (isEnding) return
  isEnding = true
  rmSync(state, { force: true })
  await postgres.stop()
  process.exit(0)
}

function open(path: string) {
  try {
    return openDataDir(path)
  } catch (error) {
    // Another process was faster to start one.
    if (error instanceof TokenvaultError && error.code === 'already_running') process.exit(0)
    throw error
  }
}
