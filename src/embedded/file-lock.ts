import { DatabaseSync } from 'node:sqlite'

export interface FileLock {
  readonly release: () => void
}

/**
 * Locks a file for this process, which is made where it is missing.
 *
 * The lock is the kernel's own, taken through SQLite, because Node has no flock: the kernel drops it however the holder
 * ends, so there is no stale lock, no recycled process id and no second holder in another container. Nobody else may open
 * and close that file in this process: POSIX would drop the lock.
 *
 * @returns undefined where another process holds it
 * @throws what SQLite throws where the file cannot be used
 */
export function takeFileLock(path: string): FileLock | undefined {
  const lock = new DatabaseSync(path)
  try {
    // In memory, because a journal on disk would outlive a killed holder.
    lock.exec('PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE')
  } catch (error) {
    lock.close()
    const isBusy = error instanceof Error && 'errcode' in error && error.errcode === 5
    if (isBusy) return undefined
    throw error
  }
  return { release: () => lock.close() }
}
