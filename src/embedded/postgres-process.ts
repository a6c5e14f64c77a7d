import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { setTimeout } from 'node:timers/promises'
import type { Log } from '../log.ts'
import { childEnvironment, type PostgresBinaries, type RunAs } from './postgres-binaries.ts'
import { dataDirectoryArgument } from './postgres-cluster.ts'
import { readPidFile } from './postgres-survivors.ts'

const startPatienceMs = 120_000
const stopPatienceMs = 60_000

/**
 * On the command line, where nothing in the cluster overrides them. Statements, parameters and errors stay out of the
 * log: `log` is above ERROR in log_min_messages, so the log has the life of the server and nothing of its data.
 */
const settings = {
  listen_addresses: '127.0.0.1',
  // A socket's path may hold 107 bytes at most, which a data directory easily exceeds.
  unix_socket_directories: '',
  max_connections: '200',
  shared_buffers: '128MB',
  timezone: 'UTC',
  log_timezone: 'UTC',
  log_min_messages: 'log',
  log_min_error_statement: 'panic',
  log_error_verbosity: 'terse',
  log_statement: 'none',
  log_parameter_max_length: '0',
  log_parameter_max_length_on_error: '0',
  log_checkpoints: 'off',
  password_encryption: 'scram-sha-256',
  cluster_name: 'tokenvault',
}

/** What a test needs of a server besides, or instead of, what everybody gets. */
export interface ServerChanges {
  /** Of postgresql.conf. */
  readonly settings?: Readonly<Record<string, string>>
  readonly environment?: Readonly<Record<string, string>>
}

/**
 * Starts the server of a cluster in a session of its own, where a terminal's Ctrl-C does not reach it.
 *
 * @returns how to stop it, once it accepts connections; undefined when it ended before that
 */
export async function launch(options: {
  readonly cluster: string
  readonly binaries: PostgresBinaries
  readonly runAs: RunAs
  readonly port: number
  readonly isDurable: boolean
  readonly logFile: number
  readonly log: Log | undefined
  readonly changes: ServerChanges
}): Promise<(() => Promise<void>) | undefined> {
  const { cluster, binaries, log } = options
  const values = {
    ...settings,
    port: String(options.port),
    ...(options.isDurable ? {} : { fsync: 'off', full_page_writes: 'off' }),
    ...options.changes.settings,
  }
  const args = Object.entries(values).flatMap(([name, value]) => ['-c', `${name}=${value}`])
  const server = spawn(binaries.postgres, ['-D', dataDirectoryArgument(cluster), ...args], {
    cwd: cluster,
    env: { ...childEnvironment, ...options.changes.environment },
    stdio: ['ignore', options.logFile, options.logFile],
    detached: true,
    windowsHide: true,
    ...options.runAs,
  })
  let isOver = false
  let isStopping = false
  const over = new Promise<void>(resolve => {
    const settle = () => {
      isOver = true
      resolve()
    }
    server.once('error', settle).once('exit', settle)
  })
  const deadline = Date.now() + startPatienceMs
  while (!isReady(cluster, server)) {
    if (isOver) return undefined
    if (Date.now() > deadline) {
      server.kill('SIGKILL')
      return undefined
    }
    await setTimeout(10)
  }
  server.unref()
  void over.then(() => {
    if (!isStopping) log?.error({ event: 'postgres_ended', component: 'postgres' }, 'the embedded Postgres ended')
  })
  return async () => {
    isStopping = true
    if (isOver) return
    server.ref()
    shutDown(server, binaries)
    if (await Promise.race([over.then(() => true), setTimeout(stopPatienceMs, false, { ref: false })])) return
    // Recovery at the next start makes good what a shutdown without a checkpoint leaves.
    server.kill('SIGQUIT')
    await over
  }
}

function isReady(cluster: string, server: ChildProcess): boolean {
  const { pid, status } = readPidFile(cluster)
  // A standby serves, too, and never says that it is ready.
  return pid === server.pid && (status === 'ready' || status === 'standby')
}

/** Fast shutdown: sessions are ended, committed work is kept. */
function shutDown(server: ChildProcess, binaries: PostgresBinaries): void {
  // Windows has no SIGINT to send: Node would end the process at once.
  if (process.platform === 'win32') spawnSync(binaries.pgCtl, ['kill', 'INT', String(server.pid)], { stdio: 'ignore' })
  else server.kill('SIGINT')
}
