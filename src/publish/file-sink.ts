import { randomUUID } from 'node:crypto'
import { link, open, readFile, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import type { CheckpointSink, StoredCheckpoint } from '../vault/evidence/ports.ts'
import { checkpointName, conflictError, publishError } from './naming.ts'

/** Readable for everybody: a checkpoint is there to be read, and nothing in it is secret. */
const mode = 0o644

/**
 * One file a checkpoint, written once, whole and durable, or not at all. Several processes may publish the same one.
 *
 * The directory must exist: one made here would hide that the volume which ought to be there is not mounted.
 *
 * @returns a sink that throws TokenvaultError `checkpoint_unavailable`; `audit_invalid` where the file holds another one
 */
export function createFileSink(directory: string): CheckpointSink {
  return {
    async publish(checkpoint) {
      const path = join(directory, checkpointName(checkpoint.treeSize))
      try {
        if (!(await isPublished(path, checkpoint))) await writeOnce(directory, path, checkpoint)
        // Also where another process wrote it, which may not have come this far.
        await syncDirectory(directory)
      } catch (error) {
        throw publishError('the checkpoint file cannot be written', error)
      }
    },
  }
}

/** @throws TokenvaultError `audit_invalid` */
async function isPublished(path: string, { treeSize, note }: StoredCheckpoint): Promise<boolean> {
  try {
    if ((await readFile(path, 'utf8')) === note) return true
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return false
    throw error
  }
  throw conflictError(treeSize)
}

/**
 * Written under a name of its own and linked to its final one, which fails where that is taken: nobody ever sees half a
 * checkpoint there, however this process ends.
 */
async function writeOnce(directory: string, path: string, checkpoint: StoredCheckpoint): Promise<void> {
  const draft = join(directory, `.${checkpointName(checkpoint.treeSize)}.${randomUUID()}`)
  const file = await open(draft, 'wx', mode)
  try {
    try {
      await file.writeFile(checkpoint.note)
      // The umask may have narrowed it.
      await file.chmod(mode)
      await file.sync()
    } finally {
      await file.close()
    }
    await link(draft, path).catch(async error => {
      if (!hasCode(error, 'EEXIST') || !(await isPublished(path, checkpoint))) throw error
    })
  } finally {
    await unlink(draft)
  }
}

/** The name itself survives a power failure only once its directory is on disk. */
async function syncDirectory(directory: string): Promise<void> {
  // Windows opens no directories, and keeps names without being asked.
  if (process.platform === 'win32') return
  const handle = await open(directory, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

function hasCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code
}
