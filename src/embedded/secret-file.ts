import { randomBytes } from 'node:crypto'
import { closeSync, fsyncSync, linkSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'

/**
 * Reads a secret file, or creates it with the candidate (mode 0600). When several processes create it at once all of them
 * read the one that came first.
 *
 * @returns what the file holds
 */
export function keepSecret(path: string, candidate: () => Uint8Array): Buffer {
  const kept = readIfThere(path)
  if (kept !== undefined) return kept
  createSecret(path, candidate())
  return readFileSync(path)
}

/**
 * Creates a secret file (mode 0600), and never replaces one: not a file, not a link, nor what another process makes at the
 * same moment. It appears complete or not at all.
 *
 * @returns false where something has the name already, which stays as it is
 * @throws the file system's error for whatever else keeps it from being written
 */
export function createSecret(path: string, bytes: Uint8Array): boolean {
  const temporary = `${path}.${randomBytes(6).toString('hex')}`
  try {
    const file = openSync(temporary, 'wx', 0o600)
    try {
      writeFileSync(file, bytes)
      fsyncSync(file)
    } finally {
      closeSync(file)
    }
    // Unlike rename, link never replaces what is there.
    linkSync(temporary, path)
    return true
  } catch (error) {
    if (hasCode(error, 'EEXIST')) return false
    throw error
  } finally {
    rmSync(temporary, { force: true })
  }
}

/** A new password: 32 random bytes in base64url; fit for a URL as it stands. */
export function makePassword(): Buffer {
  return Buffer.from(randomBytes(32).toString('base64url'))
}

/** The raw bytes of a secret file, created with that many random bytes. */
export function readOrCreateSecret(path: string, bytes: number): Buffer {
  return keepSecret(path, () => randomBytes(bytes))
}

/** The text of a password file, created with a new one. */
export function readOrCreatePassword(path: string): string {
  return keepSecret(path, makePassword).toString('utf8')
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
