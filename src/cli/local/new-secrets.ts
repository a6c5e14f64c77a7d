import { randomBytes } from 'node:crypto'
import { mkdirSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { createSecret, makePassword } from '../../embedded/secret-file.ts'
import { TokenvaultError } from '../../errors.ts'
import { createHeldKek, kekBytes } from '../../kms/held-key.ts'
import { type LoginRole, loginRoles } from '../../store/setup/role-passwords.ts'

/**
 * Makes a key-encryption key: a file of 32 random bytes, mode 0600, or of these encrypted to age recipients.
 *
 * @returns the key's id
 * @throws TokenvaultError `usage` where something has the name already, which stays as it is, nothing can be written, or a
 *   recipient is none
 */
export async function makeKeyFile(path: string, recipients: readonly string[]): Promise<{ readonly id: string }> {
  const bytes = randomBytes(kekBytes)
  const content = recipients.length === 0 ? Buffer.from(bytes) : Buffer.from(await encrypt(bytes, recipients))
  createNew(path, content)
  return createHeldKek('the new key', bytes)
}

/** Loaded where it is needed: it brings post-quantum arithmetic with it. */
async function encrypt(bytes: Uint8Array, recipients: readonly string[]): Promise<string> {
  const { encryptToRecipients } = await import('../../kms/age.ts')
  return encryptToRecipients(bytes, recipients)
}

/**
 * Makes an identity of age, in a file of mode 0600 as age-keygen writes it.
 *
 * @returns the recipient that stands for it: age1…
 * @throws TokenvaultError `usage` as makeKeyFile
 */
export async function makeIdentityFile(path: string): Promise<string> {
  const { createIdentity } = await import('../../kms/age.ts')
  const { identity, recipient } = await createIdentity()
  createNew(path, Buffer.from(`# public key: ${recipient}\n${identity}\n`))
  return recipient
}

function createNew(path: string, content: Uint8Array): void {
  if (!create(path, content))
    throw new TokenvaultError('usage', 'the file exists already and stays as it is; name one that does not')
}

/**
 * Makes a password for each role that logs in, in a file of its name, mode 0600. The directory is made, mode 0700, where it
 * is missing.
 *
 * @returns the roles
 * @throws TokenvaultError `usage` where one of the files exists already, others can enter the directory, or nothing can be
 *   written there; then no file was made
 */
export function makePasswordFiles(directory: string): readonly LoginRole[] {
  makePrivateDirectory(directory)
  const made: string[] = []
  try {
    for (const role of loginRoles) {
      const path = join(directory, role)
      if (!create(path, makePassword()))
        throw new TokenvaultError('usage', `the directory holds ${role} already; every file stays as it is`)
      made.push(path)
    }
  } catch (error) {
    for (const path of made) rmSync(path, { force: true })
    throw error
  }
  return loginRoles
}

function makePrivateDirectory(directory: string): void {
  const mode = writing(() => {
    mkdirSync(directory, { recursive: true, mode: 0o700 })
    return statSync(directory).mode
  })
  if (process.platform !== 'win32' && (mode & 0o077) !== 0)
    throw new TokenvaultError('usage', 'others can enter the directory; chmod 700 it, or name one that does not exist')
}

function create(path: string, bytes: Uint8Array): boolean {
  return writing(() => createSecret(path, bytes))
}

function writing<T>(write: () => T): T {
  try {
    return write()
  } catch (cause) {
    throw new TokenvaultError('usage', `it cannot be written (${fileErrorCode(cause)})`, { cause })
  }
}

function fileErrorCode(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : 'unknown'
}
