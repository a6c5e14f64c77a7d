import { TokenvaultError } from '../errors.ts'
import type { KeyEncryptionKey } from '../vault/keys/ports.ts'
import { createHeldKek } from './held-key.ts'
import { readSecretFile } from './secret-access.ts'

/** How a file of age begins (C2SP age, "Encrypted file format"), binary or armored. */
const ageBeginnings = ['age-encryption.org/v1\n', '-----BEGIN AGE ENCRYPTED FILE-----'] as const

/**
 * A key-encryption key in a file of 32 random bytes.
 *
 * @param path the file, or a link to it; nobody but its owner and group may be able to read or change it
 * @throws TokenvaultError `kek_unavailable`
 */
export function openLocalKek(path: string): KeyEncryptionKey {
  const bytes = readSecretFile('KEK_FILE', path)
  if (isAgeFile(bytes)) {
    const remedy = 'name the identity that opens it in KEK_IDENTITY_FILE'
    throw new TokenvaultError('kek_unavailable', `KEK_FILE is encrypted to age recipients; ${remedy}`)
  }
  return createHeldKek('KEK_FILE', bytes)
}

/** Whether the bytes are a file of age. No KEK is: its 32 bytes would have to hold a whole header. */
export function isAgeFile(bytes: Uint8Array): boolean {
  const start = Buffer.from(bytes.subarray(0, 40)).toString('latin1')
  return ageBeginnings.some(beginning => start.startsWith(beginning))
}
