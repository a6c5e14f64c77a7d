import { randomBytes } from 'node:crypto'
import { closeSync, fsyncSync, linkSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'

/**
 * Reads a secret file, or creates it with the candidate (mode 0600). The file appears complete or not at all, and when
 * several processes create it at once all of them read the one that came first.
 *
 * @returns what the file holds
 */
export function keepSecret(path: string, candidate: () => Uint8Array): Buffer {
  const kept = readIfThere(path)
  if (kept !== undefined) return kept
  const temporary = `${path}.${randomBytes(6).toString('hex')}`
  try {
    const file = openSync(temporary, 'wx', 0o600)
    try {
      writeFileSync(file, candidate())
      fsyncSync(file)
    } finally {
      closeSync(file)
    }
    // Unlike rename, link never replaces the secret of a process that was faster.
    linkSync(temporary, path)
  } catch (error) {
    if (!hasCode(error, 'EEXIST')) throw error
  } finally {
    rmSync(temporary, { force: true })
  }
  return readFileSync(path)
}

/** The raw bytes of a secret file, created with that many random bytes; the KEK file is one of 32 bytes. */
export function readOrCreateSecret(path: string, bytes: number): Buffer {
  return keepSecret(path, () => randomBytes(bytes))
}

/** The text of a password file, created with 32 random bytes in base64url; fit for a URL as it stands. */
export function readOrCreatePassword(path: string): string {
  return keepSecret(path, () => Buffer.from(randomBytes(32).toString('base64url'))).toString('utf8')
}

/** What the file holds, or undefined when there is none. */
export function readIfThere(path: string): Buffer | undefined {
  try {
    return readFileSync(path)
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return undefined
    throw error
  }
}

function hasCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code
}
