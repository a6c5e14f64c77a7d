import { createCipheriv, createDecipheriv, createHash, createSecretKey, type KeyObject, randomBytes } from 'node:crypto'
import { TokenvaultError } from '../errors.ts'
import type { KeyEncryptionKey } from '../vault/keys/ports.ts'

/** Bytes of a KEK that this process holds itself. */
export const kekBytes = 32
const nonceBytes = 12
const tagBytes = 16

/**
 * A key-encryption key of 32 bytes, wherever they come from: the same bytes are the same KEK.
 *
 * @param source the variable that gives them, for messages
 * @param bytes overwritten with zeros
 * @throws TokenvaultError `kek_unavailable` where they are not 32
 */
export function createHeldKek(source: string, bytes: Uint8Array): KeyEncryptionKey {
  if (bytes.length !== kekBytes)
    throw new TokenvaultError('kek_unavailable', `${source} holds ${bytes.length} bytes, not ${kekBytes}`)
  const key = createSecretKey(bytes)
  const id = `local:${createHash('sha256').update('tokenvault/kek-id/v1').update(bytes).digest('hex').slice(0, 16)}`
  bytes.fill(0)
  return {
    id,
    wrap: async (plaintext, associatedData) => wrapUnder(key, plaintext, associatedData),
    unwrap: async (wrapped, associatedData) => unwrapUnder(key, wrapped, associatedData),
  }
}

/**
 * A key under a 256-bit key, as nonce ‖ ciphertext ‖ tag by AES-256-GCM (NIST SP 800-38D). A KEK wraps a handful of keys in
 * its life, far below what random nonces allow.
 */
export function wrapUnder(key: KeyObject, plaintext: Uint8Array, associatedData: Uint8Array): Buffer {
  const nonce = randomBytes(nonceBytes)
  const cipher = createCipheriv('aes-256-gcm', key, nonce, { authTagLength: tagBytes }).setAAD(associatedData)
  return Buffer.concat([nonce, cipher.update(plaintext), cipher.final(), cipher.getAuthTag()])
}

/** @throws TokenvaultError `kek_mismatch`: one answer for every cause, since which byte was wrong is nobody's business */
export function unwrapUnder(key: KeyObject, wrapped: Uint8Array, associatedData: Uint8Array): Buffer {
  try {
    const nonce = wrapped.subarray(0, nonceBytes)
    const decipher = createDecipheriv('aes-256-gcm', key, nonce, { authTagLength: tagBytes })
    decipher.setAAD(associatedData).setAuthTag(wrapped.subarray(-tagBytes))
    return Buffer.concat([decipher.update(wrapped.subarray(nonceBytes, -tagBytes)), decipher.final()])
  } catch {
    throw new TokenvaultError('kek_mismatch')
  }
}
