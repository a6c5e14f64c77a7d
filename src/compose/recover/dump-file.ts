import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { closeSync, createReadStream, openSync, readdirSync, readSync, statSync } from 'node:fs'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { createGunzip, createZstdDecompress } from 'node:zlib'
import type { Environment } from '../../config/load.ts'
import { TokenvaultError } from '../../errors.ts'

/** A dump as pg_dump wrote it, in any of its formats. */
export interface DumpFile {
  readonly format: 'plain' | 'gzip' | 'zstd' | 'custom' | 'directory' | 'tar'
  /** Of the file, or of all files of the directory. */
  readonly bytes: number
  readonly sha256: string
  /**
   * The statements, in pieces.
   * @param onProgress told the bytes that were read of the file; of what pg_restore reads nothing is known
   */
  open(onProgress: (bytes: number) => void): AsyncIterable<Buffer>
}

/**
 * Looks at a dump, and reads it once for its digest.
 *
 * @param environment where PATH names pg_restore, which reads the formats that are not SQL
 * @throws TokenvaultError `dump_invalid` for what cannot be read, or needs a program that is not there; `recovery_stopped`
 */
export async function openDumpFile(
  path: string,
  options: { readonly environment: Environment; readonly signal: AbortSignal },
): Promise<DumpFile> {
  const { environment, signal } = options
  const files = listFiles(path)
  const format = files.length === 1 && files[0] === path ? recognize(path) : 'directory'
  const digest = createHash('sha256')
  let bytes = 0
  for (const file of files)
    for await (const chunk of createReadStream(file)) {
      if (signal.aborted) throw new TokenvaultError('recovery_stopped', 'nothing was restored')
      digest.update(chunk)
      bytes += chunk.length
    }
  const open = (onProgress: (bytes: number) => void) => {
    if (['custom', 'directory', 'tar'].includes(format)) return runPgRestore(path, environment)
    return decompress(path, format, onProgress)
  }
  return { format, bytes, sha256: digest.digest('hex'), open }
}

function listFiles(path: string): string[] {
  try {
    if (!statSync(path).isDirectory()) return [path]
    const names = readdirSync(path).sort()
    if (names.includes('toc.dat')) return names.map(name => join(path, name))
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'unreadable'
    throw new TokenvaultError('dump_invalid', `the dump cannot be read (${code})`)
  }
  throw new TokenvaultError('dump_invalid', 'the directory is not one of pg_dump: it holds no toc.dat')
}

/** By the first bytes, whatever the file is called. */
function recognize(path: string): DumpFile['format'] {
  const head = Buffer.alloc(512)
  const file = openSync(path, 'r')
  try {
    readSync(file, head)
  } finally {
    closeSync(file)
  }
  if (head.subarray(0, 5).toString('latin1') === 'PGDMP') return 'custom'
  if (head.readUInt16BE(0) === 0x1f8b) return 'gzip'
  if (head.readUInt32BE(0) === 0x28b52ffd) return 'zstd'
  if (head.readUInt32BE(0) === 0x04224d18)
    throw new TokenvaultError('dump_invalid', 'it is compressed with LZ4: decompress it first, `lz4 -d FILE`')
  return head.subarray(257, 262).toString('latin1') === 'ustar' ? 'tar' : 'plain'
}

async function* decompress(
  path: string,
  format: DumpFile['format'],
  onProgress: (bytes: number) => void,
): AsyncGenerator<Buffer> {
  const file = createReadStream(path, { highWaterMark: 256 * 1024 })
  let bytes = 0
  file.on('data', chunk => {
    bytes += chunk.length
    onProgress(bytes)
  })
  // Paused again until somebody reads.
  file.pause()
  const decompressor = format === 'gzip' ? createGunzip() : format === 'zstd' ? createZstdDecompress() : undefined
  if (decompressor !== undefined) {
    file.on('error', error => decompressor.destroy(error))
    file.pipe(decompressor)
  }
  try {
    yield* (decompressor ?? file) as AsyncIterable<Buffer>
  } catch (error) {
    if (error instanceof TokenvaultError) throw error
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'unreadable'
    throw new TokenvaultError('dump_invalid', `the dump cannot be read or decompressed (${code})`)
  } finally {
    file.destroy()
  }
}

const restoreAsScript = 'pg_restore --file=dump.sql DUMP'

/** pg_restore without a database writes the statements: the same text as a plain dump. */
async function* runPgRestore(path: string, environment: Environment): AsyncGenerator<Buffer> {
  const { PATH } = environment
  const child = spawn('pg_restore', ['--file=-', path], {
    env: { PATH, LC_ALL: 'C' },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const ended = new Promise<number | string>(resolve => {
    child.once('error', error => resolve('code' in error ? String(error.code) : 'unknown'))
    child.once('close', code => resolve(code ?? 'a signal'))
  })
  const said = readStart(child.stderr)
  try {
    yield* child.stdout as AsyncIterable<Buffer>
    const end = await ended
    if (end === 'ENOENT')
      throw new TokenvaultError(
        'dump_invalid',
        `it is not plain SQL, and there is no pg_restore in PATH: where there is one, run \`${restoreAsScript}\` and give dump.sql`,
      )
    if (end === 0) return
    const version = /unsupported version \([\d.]+\)/.exec(await said)?.[0]
    const why = version === undefined ? '' : `, which is older than the pg_dump that wrote it: ${version}`
    throw new TokenvaultError('dump_invalid', `pg_restore ended with ${end}${why}; see \`${restoreAsScript}\``)
  } finally {
    child.kill()
  }
}

async function readStart(stream: Readable): Promise<string> {
  let text = ''
  for await (const chunk of stream) if (text.length < 4096) text += String(chunk)
  return text
}
