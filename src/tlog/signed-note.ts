import { createPrivateKey, createPublicKey, hash, sign, verify } from 'node:crypto'
import { TokenvaultError } from '../errors.ts'

/** An Ed25519 seed. */
export const signingSeedBytes = 32
/** Signature type of Ed25519 (C2SP signed-note, Signature types). */
const ed25519Type = 0x01
const keyIdBytes = 4
const publicKeyBytes = 32
const signatureBytes = 64
/** The specification asks for at least 16; its first implementation takes 100. */
const maxSignatures = 100
/** DER before the 32 bytes of a seed (RFC 8410, 7) and of a public key (RFC 8410, 4). */
const pkcs8Prefix = Buffer.from('302e020100300506032b657004220420', 'hex')
const spkiPrefix = Buffer.from('302a300506032b6570032100', 'hex')

/** Signs notes under one name. */
export interface NoteSigner {
  /** Key name; a log signs under its log name. */
  readonly name: string
  /** What a verifier needs: `<name>+<key id>+<base64 of type ‖ public key>`. */
  readonly verifierKey: string
  /** @returns base64 of key id ‖ signature, as it stands in a note's signature line */
  sign(text: string): string
}

/** Checks signatures of one key. */
export interface NoteVerifier {
  readonly name: string
  /** As createNoteVerifier was given it. */
  readonly verifierKey: string
  /** @param signature base64 of key id ‖ signature */
  verify(text: string, signature: string): boolean
}

/** One signature line. */
export interface NoteSignature {
  readonly name: string
  /** base64 of key id ‖ signature. */
  readonly signature: string
}

/**
 * @param name 1 or more characters without spaces, plus or control characters
 * @param seed 32 bytes (RFC 8032, 5.1.5)
 * @throws TokenvaultError `keyset_invalid` for a seed of another length, `config_invalid` for another name
 */
export function createNoteSigner(name: string, seed: Uint8Array): NoteSigner {
  if (!isKeyName(name)) throw new TokenvaultError('config_invalid', 'the name of a signing key has spaces or a plus')
  if (seed.length !== signingSeedBytes)
    throw new TokenvaultError('keyset_invalid', `a signing key has ${seed.length} bytes`)
  const der = Buffer.concat([pkcs8Prefix, seed])
  const key = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' })
  der.fill(0)
  const publicKey = createPublicKey(key).export({ format: 'der', type: 'spki' }).subarray(spkiPrefix.length)
  const keyId = keyIdOf(name, publicKey)
  return {
    name,
    verifierKey: `${name}+${keyId.toString('hex')}+${typed(publicKey).toString('base64')}`,
    sign: text => Buffer.concat([keyId, sign(null, Buffer.from(text, 'utf8'), key)]).toString('base64'),
  }
}

/**
 * @param verifierKey `<name>+<key id>+<base64 of type ‖ public key>`
 * @throws TokenvaultError `checkpoint_invalid` for another shape, another signature type, or a key id that is not its own
 */
export function createNoteVerifier(verifierKey: string): NoteVerifier {
  const [name = '', id, ...rest] = verifierKey.split('+')
  // Base64 has plus signs of its own.
  const material = decodeBase64(rest.join('+'))
  if (
    !isKeyName(name) ||
    material?.length !== 1 + publicKeyBytes ||
    material[0] !== ed25519Type ||
    id !== keyIdOf(name, material.subarray(1)).toString('hex')
  )
    throw new TokenvaultError('checkpoint_invalid', 'the verifier key is malformed')
  const keyId = Buffer.from(id, 'hex')
  const key = createPublicKey({
    key: Buffer.concat([spkiPrefix, material.subarray(1)]),
    format: 'der',
    type: 'spki',
  })
  return {
    name,
    verifierKey,
    verify(text, signature) {
      const bytes = decodeBase64(signature)
      if (bytes?.length !== keyIdBytes + signatureBytes || !bytes.subarray(0, keyIdBytes).equals(keyId)) return false
      return verify(null, Buffer.from(text, 'utf8'), key, bytes.subarray(keyIdBytes))
    },
  }
}

/** @param text ends in a newline. @returns the note: text, empty line, one line a signature (C2SP signed-note, Format) */
export function formatNote(text: string, signatures: readonly NoteSignature[]): string {
  return `${text}\n${signatures.map(({ name, signature }) => `— ${name} ${signature}\n`).join('')}`
}

/**
 * Takes a note apart. Nothing of it is believed yet.
 *
 * @throws TokenvaultError `checkpoint_invalid`
 */
export function parseNote(note: string): { readonly text: string; readonly signatures: readonly NoteSignature[] } {
  const malformed = (why: string) => new TokenvaultError('checkpoint_invalid', `the note is malformed: ${why}`)
  if (!note.isWellFormed()) throw malformed('it is not UTF-8')
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what a note must not hold
  if (/[\0-\x09\x0b-\x1f]/.test(note)) throw malformed('it has control characters')
  const end = note.lastIndexOf('\n\n')
  if (end < 0) throw malformed('no empty line stands before signatures')
  const lines = note.slice(end + 2).split('\n')
  if (lines.pop() !== '') throw malformed('it does not end in a newline')
  if (lines.length === 0) throw malformed('it has no signature')
  if (lines.length > maxSignatures) throw malformed(`it has more than ${maxSignatures} signatures`)
  const signatures = lines.map(line => {
    const [dash, name = '', signature = '', ...more] = line.split(' ')
    const bytes = decodeBase64(signature)
    if (dash !== '—' || more.length > 0 || !isKeyName(name) || bytes === undefined || bytes.length <= keyIdBytes)
      throw malformed('a signature line is of another shape')
    return { name, signature }
  })
  return { text: note.slice(0, end + 1), signatures }
}

/**
 * Opens a note that must bear a signature of the verifier's key. Those of other keys are ignored, such as a witness's or
 * an earlier key's, even where they share its name.
 *
 * @returns the text that was signed
 * @throws TokenvaultError `checkpoint_invalid` for a malformed note, one without a signature of the key, or a wrong one
 */
export function openNote(note: string, verifier: NoteVerifier): string {
  const { text, signatures } = parseNote(note)
  const keyId = verifier.verifierKey.split('+')[1]
  const ours = signatures.filter(
    ({ name, signature }) => name === verifier.name && keyIdOfSignature(signature) === keyId,
  )
  if (ours.length === 0) throw new TokenvaultError('checkpoint_invalid', 'the note bears no signature of the given key')
  if (!ours.every(({ signature }) => verifier.verify(text, signature)))
    throw new TokenvaultError('checkpoint_invalid', 'the signature of the note is wrong')
  return text
}

/** Whether the note bears a true signature of the key, and no wrong one. */
export function isSignedBy(note: string, verifier: NoteVerifier): boolean {
  try {
    openNote(note, verifier)
    return true
  } catch {
    return false
  }
}

/** Bytes of canonical padded base64 (RFC 4648, 4), or undefined for any other text. */
export function decodeBase64(text: string): Buffer | undefined {
  const bytes = Buffer.from(text, 'base64')
  return bytes.toString('base64') === text ? bytes : undefined
}

function keyIdOfSignature(signature: string): string | undefined {
  return decodeBase64(signature)?.subarray(0, keyIdBytes).toString('hex')
}

/** SHA-256(name ‖ 0x0A ‖ type ‖ public key)[:4] (C2SP signed-note, Signatures). */
function keyIdOf(name: string, publicKey: Uint8Array): Buffer {
  const input = Buffer.concat([Buffer.from(`${name}\n`, 'utf8'), typed(publicKey)])
  return hash('sha256', input, 'buffer').subarray(0, keyIdBytes)
}

function typed(publicKey: Uint8Array): Buffer {
  return Buffer.concat([Uint8Array.of(ed25519Type), publicKey])
}

function isKeyName(name: string): boolean {
  return name.isWellFormed() && /^[^\p{White_Space}\p{Cc}+]+$/u.test(name)
}
