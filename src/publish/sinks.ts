import { randomUUID } from 'node:crypto'
import { link, open, readdir, readFile, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import type { Writable } from 'node:stream'
import { TokenvaultError } from '../errors.ts'
import type { CheckpointArchive, CheckpointSink, StoredCheckpoint } from '../vault/evidence/ports.ts'

/** Enough digits for every size that a number holds exactly, so that names sort as sizes do. */
const digits = 16

/** File or object that holds the checkpoint of a size: `0000000000000042.note`. */
export function checkpointName(treeSize: number): string {
  return `${String(treeSize).padStart(digits, '0')}.note`
}

/** File or object that holds the hand-over at a size: `0000000000000042.hand-over`. */
export function handOverName(treeSize: number): string {
  return `${String(treeSize).padStart(digits, '0')}.hand-over`
}

/** The size that a file or object holds the checkpoint of; undefined for other files. */
export function sizeOfName(name: string): number | undefined {
  const size = /^(\d{16})\.note$/.exec(name)?.[1]
  return size === undefined ? undefined : Number(size)
}

/** More than any note of ours; more is not worth the memory. */
export const longestNoteBytes = 8192

/**
 * Names why a checkpoint could not be kept. Only a short identifier survives and no cause: paths, replies and SDK
 * messages may hold what is secret, such as the credentials of a URL.
 *
 * @param doing what failed, in our words
 * @returns TokenvaultError `checkpoint_unavailable`
 */
export function publishError(doing: string, error: unknown): TokenvaultError {
  if (error instanceof TokenvaultError) return error
  return new TokenvaultError('checkpoint_unavailable', `${doing}: ${identify(error)}`)
}

/** A refused connection or a file system says everything by its code, a service by the name of its exception. */
function identify(error: unknown): string {
  if (!(error instanceof Error)) return 'UnknownError'
  const code: unknown = 'code' in error ? error.code : undefined
  const name = error.name === 'Error' || error.name === 'AggregateError' ? code : error.name
  // Names come from a server's reply, so only what looks like an identifier passes.
  return typeof name === 'string' && /^[A-Za-z][A-Za-z0-9_.]{0,63}$/.test(name) ? name : 'UnknownError'
}

/**
 * A name holds one checkpoint for ever.
 *
 * @returns TokenvaultError `audit_invalid`
 */
export function conflictError(treeSize: number): TokenvaultError {
  const what = 'another history of the log, or another vault that publishes to the same place'
  return new TokenvaultError('audit_invalid', `another checkpoint of size ${treeSize} was published before: ${what}`)
}

/**
 * One JSON line a checkpoint, `{"event":"checkpoint","treeSize":…,"note":…}`, for those whose log collector is out of
 * reach of the database's administrators. What starts anew tells the newest one again.
 *
 * @param stream standard output
 * @returns a sink that throws TokenvaultError `checkpoint_unavailable`
 */
export function createStdoutSink(stream: Writable): CheckpointSink {
  // A reader that goes away is told to the write below; unheard, its event would end the process.
  stream.on('error', () => {})
  const write = async (event: string, { treeSize, note }: StoredCheckpoint) => {
    const line = `${JSON.stringify({ event, treeSize, note })}\n`
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    stream.write(line, error => (error ? reject(publishError('standard output', error)) : resolve()))
    await promise
  }
  return {
    publish: checkpoint => write('checkpoint', checkpoint),
    publishHandOver: handOver => write('hand_over', handOver),
  }
}

/** Readable for everybody: a checkpoint is there to be read, and nothing in it is secret. */
const fileMode = 0o644

/**
 * One file a checkpoint, written once, whole and durable, or not at all. Several processes may publish the same one.
 *
 * The directory must exist: one made here would hide that the volume which ought to be there is not mounted.
 *
 * @returns a sink that throws TokenvaultError `checkpoint_unavailable`; `audit_invalid` where the file holds another one
 */
export function createFileSink(directory: string): CheckpointSink {
  const put = async (name: string, { treeSize, note }: StoredCheckpoint) => {
    try {
      await publishFile(directory, name, note, () => conflictError(treeSize))
    } catch (error) {
      throw publishError('the checkpoint file cannot be written', error)
    }
  }
  return {
    publish: checkpoint => put(checkpointName(checkpoint.treeSize), checkpoint),
    publishHandOver: handOver => put(handOverName(handOver.treeSize), handOver),
  }
}

/** What createFileSink has written there. */
export function createFileReader(directory: string): CheckpointArchive {
  const find = async (least: number, most: number) => {
    try {
      const sizes = (await readdir(directory)).flatMap(name => sizeOfName(name) ?? [])
      const treeSize = sizes.filter(size => size <= most).reduce((largest, size) => Math.max(largest, size), -1)
      if (treeSize < Math.max(least, 0)) return undefined
      const note = await readFile(join(directory, checkpointName(treeSize)))
      return { treeSize, note: note.subarray(0, longestNoteBytes).toString('utf8') }
    } catch (error) {
      throw publishError('the published checkpoints cannot be read', error)
    }
  }
  return {
    findNewest: from => find(from, Number.MAX_SAFE_INTEGER),
    findAtMost: treeSize => find(0, treeSize),
  }
}

/** Writes a file that keeps its content for ever. @throws `conflict` where it has another one */
export async function publishFile(
  directory: string,
  name: string,
  content: string,
  conflict: () => TokenvaultError,
): Promise<void> {
  if (!(await isPublished(join(directory, name), content, conflict)))
    await writeOnce(directory, name, content, conflict)
  // Also when another process wrote the file: it may have ended before this step.
  await syncDirectory(directory)
}

async function isPublished(path: string, content: string, conflict: () => TokenvaultError): Promise<boolean> {
  try {
    if ((await readFile(path, 'utf8')) === content) return true
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return false
    throw error
  }
  throw conflict()
}

/**
 * Written under a name of its own and linked to its final one, which fails where that is taken: nobody ever sees half a
 * checkpoint there, however this process ends.
 */
async function writeOnce(
  directory: string,
  name: string,
  content: string,
  conflict: () => TokenvaultError,
): Promise<void> {
  const path = join(directory, name)
  const draft = join(directory, `.${name}.${randomUUID()}`)
  const file = await open(draft, 'wx', fileMode)
  try {
    try {
      await file.writeFile(content)
      // The umask may have narrowed it.
      await file.chmod(fileMode)
      await file.sync()
    } finally {
      await file.close()
    }
    await link(draft, path).catch(async error => {
      if (!hasCode(error, 'EEXIST') || !(await isPublished(path, content, conflict))) throw error
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

export function hasCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code
}
