import { createCipheriv, createDecipheriv, createHash, createSecretKey, randomBytes } from 'node:crypto'
import { closeSync, fstatSync, openSync, readFileSync } from 'node:fs'
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
 * @param path the file; nobody but its owner and group may have access to it
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
  let mode: number
  let bytes: Buffer
  try {
    // One descriptor, so that what is checked is what is read.
    const file = openSync(path, 'r')
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
  // A group may read: that is how an orchestrator hands a secret to a process that is not root.
  if (process.platform !== 'win32' && (mode & 0o027) !== 0) {
    throw new TokenvaultError('kek_unavailable', 'KEK_FILE is open to others; chmod 600 it')
  }
  if (bytes.length !== kekBytes) {
    throw new TokenvaultError('kek_unavailable', `KEK_FILE holds ${bytes.length} bytes, not ${kekBytes}`)
  }
  return bytes
}
