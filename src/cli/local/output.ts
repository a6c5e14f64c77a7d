import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { closeSync, fsyncSync, openSync, renameSync, rmSync, writeSync } from 'node:fs'
import { TokenvaultError } from '../../errors.ts'

/** Where the answer of a command goes, piece by piece. */
export interface Output {
  write(text: string): Promise<void>
  /** Nothing more comes: a file gets its name now. @throws TokenvaultError `usage` */
  finish(): void
  /** What was written counts for nothing. */
  discard(): void
}

/** Standard output, no faster than it is read. */
export function standardOutput(): Output {
  return {
    async write(text) {
      if (!process.stdout.write(text)) await once(process.stdout, 'drain')
    },
    finish() {},
    discard() {},
  }
}

/**
 * A file that only its owner can read, and that has its name only when it is complete; what had the name before is there until
 * then.
 *
 * @throws TokenvaultError `usage` where it cannot be written
 */
export function outputFile(path: string): Output {
  const temporary = `${path}.${randomBytes(6).toString('hex')}`
  const orUsage = <T>(work: () => T): T => {
    try {
      return work()
    } catch (cause) {
      rmSync(temporary, { force: true })
      throw new TokenvaultError('usage', '--out names a file that cannot be written', { cause })
    }
  }
  const file = orUsage(() => openSync(temporary, 'wx', 0o600))
  return {
    async write(text) {
      orUsage(() => writeAll(file, Buffer.from(text, 'utf8')))
    },
    finish() {
      orUsage(() => {
        fsyncSync(file)
        closeSync(file)
        renameSync(temporary, path)
      })
    },
    discard() {
      rmSync(temporary, { force: true })
    },
  }
}

function writeAll(file: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; ) at += writeSync(file, bytes, at)
}
