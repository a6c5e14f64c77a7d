import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { TokenvaultError } from '../errors.ts'
import type { PostgresBinaries } from './postgres-binaries.ts'

const patienceMs = 30_000

/**
 * Stops the Postgres of a cluster whose parent was killed, and removes a `postmaster.pid` that nobody stands behind.
 * The caller holds the lock of the data directory, so no live tokenvault uses the cluster.
 *
 * @throws TokenvaultError `embedded_failed` when a process of it will not end
 */
export async function stopSurvivors(cluster: string, binaries: PostgresBinaries): Promise<void> {
  const { pid } = readPidFile(cluster)
  if (process.platform === 'linux') await stopProcesses(cluster, pid)
  else if (pid !== undefined && isPostgres(pid)) {
    spawnSync(binaries.pgCtl, ['stop', '-m', 'fast', '-D', cluster, '-t', String(patienceMs / 1000)], {
      stdio: 'ignore',
    })
  }
  // Left in place, it blocks the start for as long as any process of this user happens to have that process id.
  rmSync(join(cluster, 'postmaster.pid'), { force: true })
}

/** Ends the initdb of a killed process, which outlives it too, and removes what it was making. */
export async function removeHalfMade(cluster: string): Promise<void> {
  const parent = dirname(cluster)
  for (const name of readdirSync(parent).filter(name => name.startsWith(`${basename(cluster)}.new-`))) {
    const halfMade = join(parent, name)
    if (process.platform === 'linux') await killProcesses(halfMade)
    rmSync(halfMade, { recursive: true, force: true, maxRetries: 5, retryDelay: 20 })
  }
}

/**
 * Ends the Postgres of a data directory at once, or the initdb that makes its cluster, for a process that cannot wait.
 * The next start recovers what was committed. The caller holds the lock of the directory.
 */
export function quitPostgres(dataDir: string): void {
  const cluster = join(dataDir, 'postgres')
  const { pid } = readPidFile(cluster)
  if (process.platform !== 'linux') {
    if (pid !== undefined && isPostgres(pid)) signal(pid, 'SIGQUIT')
    return
  }
  for (const name of readdirSync(dataDir)) {
    if (name === 'postgres') for (const found of processesIn(cluster)) signal(found, 'SIGQUIT')
    else if (name.startsWith('postgres.new-'))
      for (const found of processesIn(join(dataDir, name))) signal(found, 'SIGKILL')
  }
}

/** Process id and state of a running server as its `postmaster.pid` has them: lines 1 and 8 (PostgreSQL: miscadmin.h). */
export function readPidFile(cluster: string): { pid: number | undefined; status: string | undefined } {
  try {
    const lines = readFileSync(join(cluster, 'postmaster.pid'), 'utf8').split('\n')
    const pid = Number(lines[0])
    return { pid: Number.isInteger(pid) && pid > 1 ? pid : undefined, status: lines[7]?.trim() }
  } catch {
    return { pid: undefined, status: undefined }
  }
}

async function stopProcesses(cluster: string, postmaster: number | undefined): Promise<void> {
  const found = processesIn(cluster)
  if (found.length === 0) return
  // The children of a postmaster that was itself killed end on their own.
  if (postmaster !== undefined && found.includes(postmaster)) signal(postmaster, 'SIGINT')
  if (await areGone(cluster)) return
  if (await killProcesses(cluster)) return
  throw new TokenvaultError('embedded_failed', 'An earlier Postgres of this data directory does not end')
}

async function killProcesses(directory: string): Promise<boolean> {
  for (const pid of processesIn(directory)) signal(pid, 'SIGKILL')
  return areGone(directory)
}

async function areGone(directory: string): Promise<boolean> {
  const deadline = Date.now() + patienceMs
  while (processesIn(directory).length > 0) {
    if (Date.now() > deadline) return false
    await setTimeout(10)
  }
  return true
}

/** The processes of Postgres that work in the directory; asked of the kernel, since process ids are recycled. */
function processesIn(directory: string): number[] {
  const home = statSync(directory)
  return readdirSync('/proc')
    .filter(name => /^\d+$/.test(name))
    .filter(pid => {
      try {
        const { ino, dev } = statSync(`/proc/${pid}/cwd`)
        const isHere = ino === home.ino && dev === home.dev
        return isHere && /^(postgres|initdb)\n$/.test(readFileSync(`/proc/${pid}/comm`, 'utf8'))
      } catch {
        return false
      }
    })
    .map(Number)
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name)
  } catch {
    // It ended in the meantime.
  }
}

/** On Windows pg_ctl reaches nothing but a Postgres, by the pipe that only a Postgres has. */
function isPostgres(pid: number): boolean {
  if (process.platform === 'win32') return true
  const { stdout } = spawnSync('ps', ['-p', String(pid), '-o', 'comm='], { encoding: 'utf8' })
  return /postgres$/.test(stdout.trim())
}
