import { chmodSync, mkdirSync, readdirSync, readFileSync, type Stats, statSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { TokenvaultError } from '../errors.ts'
import { type FileLock, takeFileLock } from './file-lock.ts'

/** The directory that holds one embedded tokenvault, locked for this process. */
export interface DataDir {
  /** Absolute path. */
  readonly path: string
  /** Absolute path of an entry of the directory. */
  file(name: string): string
  /** Lets another process open the directory. */
  release(): void
}

/**
 * Creates the data directory where it is missing (mode 0700) and locks it.
 *
 * @throws TokenvaultError `already_running` when another holder has it; `config_invalid` when the path is not a directory,
 *   may be written by other users, or cannot be used by this one
 */
export function openDataDir(path: string): DataDir {
  const root = resolve(path)
  try {
    mkdirSync(root, { recursive: true, mode: 0o700 })
    makePrivate(root, statSync(root))
    const lock = takeLock(join(root, 'lock'), join(root, 'pid'))
    return { path: root, file: name => join(root, name), release: lock.release }
  } catch (error) {
    if (error instanceof TokenvaultError) throw error
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown'
    throw new TokenvaultError('config_invalid', `The data directory cannot be used (${code})`, { cause: error })
  }
}

/** Narrows only an empty directory of our own: `--data-dir /tmp` must not take /tmp away from everybody. */
function makePrivate(root: string, { mode, uid }: Stats): void {
  const isPosix = process.getuid !== undefined
  if (!isPosix || (mode & 0o077) === 0) return
  const isShared = (mode & 0o1000) !== 0
  if (!isShared && uid === process.getuid?.() && readdirSync(root).length === 0) chmodSync(root, 0o700)
  else if ((mode & 0o022) !== 0) {
    throw new TokenvaultError(
      'config_invalid',
      'The data directory may be written by other users; give one of mode 700',
    )
  }
}

function takeLock(path: string, pidPath: string): FileLock {
  const lock = takeFileLock(path)
  if (lock === undefined)
    throw new TokenvaultError('already_running', `Another tokenvault${holder(pidPath)} uses this data directory`)
  writeFileSync(pidPath, `${process.pid}\n`, { mode: 0o600 })
  return lock
}

/** Only for the message: nothing is decided by the process id. */
function holder(pidPath: string): string {
  try {
    const pid = readFileSync(pidPath, 'utf8').trim()
    return /^\d+$/.test(pid) ? ` (process ${pid})` : ''
  } catch {
    return ''
  }
}
