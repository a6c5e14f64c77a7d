import { createCipheriv, createDecipheriv, createHash, createSecretKey, randomBytes } from 'node:crypto'
import { closeSync, fstatSync, openSync, readFileSync, realpathSync, statSync } from 'node:fs'
import { dirname } from 'node:path'
import { TokenvaultError } from '../errors.ts'
import type { KeyEncryptionKey } from '../vault/keys/ports.ts'

/** Bytes of a KEK file. */
export const kekBytes = 32
const nonceBytes = 12
const tagBytes = 16

/**
 * A key-encryption key in a file of 32 random bytes. Keys are wrapped as nonce ‖ ciphertext ‖ tag by AES-256-GCM
 * (NIST SP 800-38D); a KEK wraps a handful of keys in its life, far below what random nonces allow.
 *
 * @param path the file, or a link to it; nobody but its owner and group may be able to read or change it
 * @throws TokenvaultError `kek_unavailable`
 */
export function openLocalKek(path: string): KeyEncryptionKey {
  const bytes = readKek(path)
  const key = createSecretKey(bytes)
  const id = `local:${createHash('sha256').update('tokenvault/kek-id/v1').update(bytes).digest('hex').slice(0, 16)}`
  bytes.fill(0)
  return {
    id,
    async wrap(plaintext, associatedData) {
      const nonce = randomBytes(nonceBytes)
      const cipher = createCipheriv('aes-256-gcm', key, nonce, { authTagLength: tagBytes }).setAAD(associatedData)
      return Buffer.concat([nonce, cipher.update(plaintext), cipher.final(), cipher.getAuthTag()])
    },
    async unwrap(wrapped, associatedData) {
      try {
        const decipher = createDecipheriv('aes-256-gcm', key, wrapped.subarray(0, nonceBytes), {
          authTagLength: tagBytes,
        })
        decipher.setAAD(associatedData).setAuthTag(wrapped.subarray(-tagBytes))
        return Buffer.concat([decipher.update(wrapped.subarray(nonceBytes, -tagBytes)), decipher.final()])
      } catch {
        // One answer for every cause: which byte was wrong is nobody's business.
        throw new TokenvaultError('kek_mismatch')
      }
    },
  }
}

function readKek(path: string): Buffer {
  let place: string
  let mode: number
  let bytes: Buffer
  try {
    // Without links, as Kubernetes makes two of them: the directories that are looked at are those of the file that is read.
    place = realpathSync(path)
    // One descriptor, so that what is checked is what is read.
    const file = openSync(place, 'r')
    try {
      mode = fstatSync(file).mode
      bytes = readFileSync(file)
    } finally {
      closeSync(file)
    }
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'unreadable'
    throw new TokenvaultError('kek_unavailable', `KEK_FILE cannot be read (${code})`)
  }
  if (process.getuid !== undefined) checkAccess(place, mode, process.getuid())
  if (bytes.length !== kekBytes) {
    throw new TokenvaultError('kek_unavailable', `KEK_FILE holds ${bytes.length} bytes, not ${kekBytes}`)
  }
  return bytes
}

function checkAccess(place: string, mode: number, uid: number): void {
  const access = openToOthers(place, mode, uid)
  if (access === undefined) return
  const others = `KEK_FILE is open to others (mode ${(mode & 0o777).toString(8).padStart(4, '0')})`
  if (access === 'change') {
    throw new TokenvaultError('kek_unavailable', `${others}, who can do more than read it; chmod 600 it`)
  }
  throw new TokenvaultError(
    'kek_unavailable',
    `${others}, and they can enter every directory above it. Chmod 600 it, or chmod 700 its directory. ` +
      'A secret mount: give it mode 0440 and a group of this process (Kubernetes: defaultMode and fsGroup; Docker: mode and gid)',
  )
}

/**
 * What others can do with a secret's file. The group may read: that is how an orchestrator hands a secret to a process that
 * is not root. Everybody may read as far as the file's own mode goes, as secret mounts leave it (0444), where nobody else
 * can come near it: to open a file, a process must be able to enter every directory above it.
 *
 * @param place the file, without links
 * @param uid of this process
 * @returns undefined where nobody else can read or change it
 */
export function openToOthers(place: string, mode: number, uid: number): 'read' | 'change' | undefined {
  if ((mode & 0o027) === 0) return undefined
  if ((mode & 0o033) !== 0) return 'change'
  return directoriesAbove(place).some(directory => isPrivate(directory, uid)) ? undefined : 'read'
}

function directoriesAbove(place: string): string[] {
  const above = dirname(place)
  return above === place ? [] : [above, ...directoriesAbove(above)]
}

/** Whether only root, this process's user and a group can enter the directory, and only these users change what it holds. */
function isPrivate(directory: string, ownUid: number): boolean {
  const { mode, uid } = statSync(directory)
  return (uid === 0 || uid === ownUid) && (mode & 0o023) === 0
}
