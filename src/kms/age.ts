import { armor, Decrypter, Encrypter, generateX25519Identity, identityToRecipient } from 'age-encryption'
import { TokenvaultError } from '../errors.ts'
import type { KeyEncryptionKey } from '../vault/keys/ports.ts'
import { createHeldKek } from './held-key.ts'
import { isAgeFile } from './local.ts'
import { readSecretFile } from './secret-access.ts'

/**
 * A key-encryption key whose file is encrypted to age recipients (C2SP age), so that the file alone opens nothing: it may lie in a
 * repository or a backup, and the identity in the machine's secret store.
 *
 * @param path the encrypted file, binary or armored
 * @param identityPath a file of identities as age-keygen writes it: lines of AGE-SECRET-KEY-1…, and comments
 * @throws TokenvaultError `kek_unavailable`
 */
export async function openAgeKek(path: string, identityPath: string): Promise<KeyEncryptionKey> {
  const file = readSecretFile('KEK_FILE', path)
  if (!isAgeFile(file)) throw new TokenvaultError('kek_unavailable', 'KEK_FILE is not encrypted with age')
  const decrypter = createDecrypter('KEK_IDENTITY_FILE', identityPath)
  const bytes = await decrypt(decrypter, file)
  if (bytes === undefined)
    throw new TokenvaultError('kek_unavailable', 'no identity of KEK_IDENTITY_FILE opens KEK_FILE, or it was changed')
  return createHeldKek('KEK_FILE, decrypted,', bytes)
}

/**
 * Opens a file of age.
 *
 * @param file binary or armored
 * @param identity.name by which people gave the identity's file
 * @returns undefined where no identity of the file opens it, or it was changed
 * @throws TokenvaultError `kek_unavailable` for a file of identities that cannot be read, is open to others or holds none
 */
export async function openWithIdentity(
  file: Uint8Array,
  { name, path }: { readonly name: string; readonly path: string },
): Promise<Uint8Array | undefined> {
  return decrypt(createDecrypter(name, path), Buffer.from(file))
}

async function decrypt(decrypter: Decrypter, file: Buffer): Promise<Uint8Array | undefined> {
  try {
    const text = file.toString('latin1').trimStart()
    return await decrypter.decrypt(text.startsWith('-----BEGIN') ? armor.decode(text) : file)
  } catch {
    // The library's message may quote the header.
    return undefined
  }
}

/**
 * A file of age that gives a KEK to whoever has the identity of one of the recipients.
 *
 * @param recipients age1…
 * @returns the armored file
 * @throws TokenvaultError `usage` for a text that is not a recipient, which it does not repeat
 */
export async function encryptToRecipients(bytes: Uint8Array, recipients: readonly string[]): Promise<string> {
  const encrypter = new Encrypter()
  for (const [index, recipient] of recipients.entries()) {
    try {
      encrypter.addRecipient(recipient)
    } catch {
      // Somebody may have given the identity, which is a secret.
      throw new TokenvaultError('usage', `recipient ${index + 1} is not a recipient of age (age1…)`)
    }
  }
  return armor.encode(await encrypter.encrypt(bytes))
}

/** A new identity, and the recipient that stands for it. X25519, as every implementation of age reads it. */
export async function createIdentity(): Promise<{ readonly identity: string; readonly recipient: string }> {
  const identity = await generateX25519Identity()
  return { identity, recipient: await identityToRecipient(identity) }
}

function createDecrypter(name: string, path: string): Decrypter {
  const lines = readSecretFile(name, path).toString('utf8').split(/\r?\n/)
  const identities = lines.map(line => line.trim()).filter(line => line !== '' && !line.startsWith('#'))
  if (identities.length === 0) throw new TokenvaultError('kek_unavailable', `${name} holds no identity`)
  const decrypter = new Decrypter()
  for (const identity of identities) {
    try {
      decrypter.addIdentity(identity)
    } catch {
      // Without the cause, which could quote the secret.
      throw new TokenvaultError('kek_unavailable', `${name} holds a line that is not an identity of age`)
    }
  }
  return decrypter
}
