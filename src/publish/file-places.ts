import { createWriteStream } from 'node:fs'
import { mkdir, open, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { fileURLToPath } from 'node:url'
import type { AwsSettings } from '../aws/client-settings.ts'
import { TokenvaultError } from '../errors.ts'
import { type FilePlace, placeError } from './place.ts'
import { createS3Place } from './s3-place.ts'

/**
 * @param url `file:///directory/` or `s3://bucket/prefix`
 * @param s3 asked only where it is needed
 * @throws TokenvaultError `usage` for other URLs
 */
export async function openFilePlace(url: string, s3: () => Promise<AwsSettings>): Promise<FilePlace> {
  const parsed = URL.canParse(url) ? new URL(url) : undefined
  if (parsed === undefined || parsed.username !== '' || parsed.password !== '' || parsed.search !== '')
    throw new TokenvaultError('usage', 'the place is a URL that begins with file:/// or s3://, without a login')
  if (parsed.protocol === 'file:' && parsed.host === '') return createDirectoryPlace(fileURLToPath(parsed))
  if (parsed.protocol === 's3:' && parsed.host !== '') {
    const prefix = decodeURIComponent(parsed.pathname).replace(/^\/+|\/+$/g, '')
    return createS3Place({ ...(await s3()), bucket: parsed.host, prefix })
  }
  throw new TokenvaultError('usage', 'the place is a URL that begins with file:/// or s3://, without a login')
}

/** The directory itself must exist: one made here would hide that the volume which ought to be there is not mounted. */
function createDirectoryPlace(directory: string): FilePlace {
  const named = async <T>(doing: string, work: () => Promise<T>): Promise<T> => {
    try {
      return await work()
    } catch (error) {
      throw placeError(doing, error)
    }
  }
  return {
    async write(name, chunks) {
      const path = join(directory, name)
      // Readers of Hive directories pass over names with a dot.
      const draft = join(dirname(path), `.${path.slice(dirname(path).length + 1)}.draft`)
      let failure: unknown
      const source = async function* () {
        try {
          yield* chunks
        } catch (error) {
          failure = error
          throw error
        }
      }
      await named('the file cannot be written', async () => {
        await (await open(directory, 'r')).close()
        await mkdir(dirname(path), { recursive: true })
        try {
          await pipeline(Readable.from(source()), createWriteStream(draft, { mode: 0o640, flush: true }))
          await rename(draft, path)
          await syncDirectory(dirname(path))
        } catch (error) {
          await rm(draft, { force: true })
          throw failure ?? error
        }
      }).catch(error => {
        throw failure ?? error
      })
    },
    open: name =>
      named('the file cannot be read', async () => {
        const file = await open(join(directory, name)).catch(error => {
          if (error.code === 'ENOENT') return undefined
          throw error
        })
        if (file === undefined) return undefined
        const { size } = await file.stat()
        await file.close()
        return { byteLength: size, slice: (start, end = size) => readPart(join(directory, name), start, end) }
      }),
    remove: name => named('the file cannot be removed', () => rm(join(directory, name), { force: true })),
    close() {},
  }
}

async function readPart(path: string, start: number, end: number): Promise<ArrayBuffer> {
  try {
    const file = await open(path)
    try {
      const bytes = Buffer.allocUnsafeSlow(Math.max(0, end - start))
      const { bytesRead } = await file.read(bytes, 0, bytes.length, start)
      if (bytesRead !== bytes.length) throw new Error('the file is shorter than it was')
      return bytes.buffer
    } finally {
      await file.close()
    }
  } catch (error) {
    throw placeError('the file cannot be read', error)
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
