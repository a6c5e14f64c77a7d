import { spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  chownSync,
  closeSync,
  existsSync,
  fchownSync,
  mkdtempSync,
  openSync,
  renameSync,
  rmSync,
  statSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { TokenvaultError } from '../errors.ts'
import { childEnvironment, type PostgresBinaries, type RunAs } from './postgres-binaries.ts'

/** The superuser of an embedded cluster. */
export const adminRole = 'tokenvault_admin'

const nobody = 65_534

/** Postgres refuses to run as root: then it runs as the owner of the cluster, at first as uid 65534. */
export function postgresUser(cluster: string): RunAs {
  if (process.getuid?.() !== 0) return undefined
  const owner = statSync(cluster, { throwIfNoEntry: false })
  return owner === undefined || owner.uid === 0 ? { uid: nobody, gid: nobody } : { uid: owner.uid, gid: owner.gid }
}

/**
 * How Postgres is told its data directory, being started in it. On Linux the link is the kernel's own, which asks no
 * search permission of the directories above: they may be root's with mode 700, have any name and any length.
 */
export function dataDirectoryArgument(cluster: string): string {
  return process.platform === 'linux' && existsSync('/proc/self/cwd') ? '/proc/self/cwd' : cluster
}

/** Whether the path holds a complete cluster. It does or is not there at all, because `createCluster` renames it into place. */
export function hasCluster(cluster: string): boolean {
  return existsSync(join(cluster, 'PG_VERSION'))
}

/**
 * Makes a cluster: UTF-8, C locale, checksums, scram-sha-256 for every connection, one superuser. It is made beside
 * its place and renamed, so that a process killed half-way leaves nothing that looks like a cluster.
 *
 * @param options.logFile descriptor that gets initdb's output
 * @throws TokenvaultError `embedded_failed`
 */
export async function createCluster(options: {
  readonly cluster: string
  readonly binaries: PostgresBinaries
  readonly runAs: RunAs
  readonly password: string
  readonly isDurable: boolean
  readonly logFile: number
}): Promise<void> {
  const { cluster, binaries, runAs } = options
  const halfMade = mkdtempSync(`${cluster}.new-`)
  const password = passwordFile(`${halfMade}.password`, options.password, runAs)
  try {
    chmodSync(halfMade, 0o700)
    if (runAs !== undefined) chownSync(halfMade, runAs.uid, runAs.gid)
    const args = [
      `--pgdata=${dataDirectoryArgument(halfMade)}`,
      `--username=${adminRole}`,
      `--pwfile=${password.path}`,
      '--auth=scram-sha-256',
      '--encoding=UTF8',
      '--no-locale',
      '--data-checksums',
      '--no-instructions',
      ...(options.isDurable ? [] : ['--no-sync']),
    ]
    const initdb = spawn(binaries.initdb, args, {
      cwd: halfMade,
      env: childEnvironment,
      stdio: ['ignore', options.logFile, options.logFile, password.file],
      ...runAs,
    })
    const [status] = await once(initdb, 'exit')
    if (status !== 0) throw new Error(`initdb ended with ${status}`)
    renameSync(halfMade, cluster)
  } catch (error) {
    rmSync(halfMade, { recursive: true, force: true })
    throw new TokenvaultError('embedded_failed', 'The Postgres cluster could not be made; see postgres.log', {
      cause: error,
    })
  } finally {
    password.remove()
  }
}

/**
 * The password for initdb, never on a command line: a file that is already unlinked when initdb reads it as its
 * descriptor 3, so that it outlives nothing and needs no directory that initdb's user may search.
 */
function passwordFile(path: string, password: string, runAs: RunAs) {
  writeFileSync(path, `${password}\n`, { flag: 'wx', mode: 0o600 })
  const file = openSync(path, 'r')
  const hasDescriptorPaths = process.platform !== 'win32'
  if (runAs !== undefined) fchownSync(file, runAs.uid, runAs.gid)
  if (hasDescriptorPaths) unlinkSync(path)
  return {
    file,
    path: hasDescriptorPaths ? '/dev/fd/3' : path,
    remove() {
      closeSync(file)
      rmSync(path, { force: true })
    },
  }
}
