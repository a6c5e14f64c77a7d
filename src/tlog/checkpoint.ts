import { TokenvaultError } from '../errors.ts'
import { isRevokedAt, type LogKeys, spanAt, spansOf } from './key-history.ts'
import { treeHashBytes } from './merkle.ts'
import {
  decodeBase64,
  formatNote,
  isSignedBy,
  type NoteSigner,
  type NoteVerifier,
  openNote,
  parseNote,
} from './signed-note.ts'

/** A tree as its log signs it (C2SP tlog-checkpoint, which calls the log name *origin*). */
export interface Checkpoint {
  /** Identity of the log, and the name of the key that signs. */
  readonly logName: string
  readonly treeSize: number
  /** 32 bytes. */
  readonly root: Uint8Array
}

/** The text that is signed: a line each for log name, decimal size, and root in base64 (C2SP tlog-checkpoint, Note text). */
export function formatCheckpoint({ logName, treeSize, root }: Checkpoint): string {
  return `${logName}\n${treeSize}\n${Buffer.from(root).toString('base64')}\n`
}

/**
 * Extension lines are ignored: they say nothing about the tree.
 *
 * @throws TokenvaultError `checkpoint_invalid`
 */
export function parseCheckpoint(text: string): Checkpoint {
  const [logName = '', size = '', rootText = '', ...rest] = text.split('\n')
  const root = decodeBase64(rootText)
  const treeSize = /^(0|[1-9]\d{0,15})$/.test(size) ? Number(size) : Number.NaN
  const endsWell = rest.pop() === '' && rest.every(line => line !== '')
  if (logName === '' || !Number.isSafeInteger(treeSize) || root?.length !== treeHashBytes || !endsWell)
    throw new TokenvaultError('checkpoint_invalid', 'the signed note is not a checkpoint')
  return { logName, treeSize, root }
}

/** @returns the checkpoint as a signed note, whose log name is the signer's name */
export function signCheckpoint(
  signer: NoteSigner,
  tree: { readonly treeSize: number; readonly root: Uint8Array },
): string {
  const text = formatCheckpoint({ logName: signer.name, ...tree })
  return formatNote(text, [{ name: signer.name, signature: signer.sign(text) }])
}

/**
 * Opens a checkpoint that must bear the signature of the key that signs trees of its size, whatever else signed it.
 *
 * @param options.isProven whether something else shows that the log grew out of it: then a key that was revoked since does, too
 * @throws TokenvaultError `checkpoint_invalid` unless the note is a checkpoint of the log whose keys these are
 */
export function openCheckpoint(
  note: string,
  keys: LogKeys,
  options: { readonly isProven: boolean } = { isProven: false },
): Checkpoint {
  const unverified = readUnverifiedCheckpoint(note)
  const { treeSize } = unverified
  const { verifier, end } = spanAt(keys, treeSize)
  const other = isSignedBy(note, verifier) ? undefined : spansOf(keys).find(span => isSignedBy(note, span.verifier))
  if (other !== undefined)
    throw new TokenvaultError(
      'checkpoint_invalid',
      `the key ${keyIdOf(other.verifier)} of the log signs no tree of ${treeSize} events, and ${keyIdOf(verifier)} did not sign this one`,
    )
  const checkpoint = parseCheckpoint(openNote(note, verifier))
  // One key could sign for several logs; a checkpoint of another proves nothing about this one.
  if (checkpoint.logName !== keys.name)
    throw new TokenvaultError('checkpoint_invalid', 'the checkpoint is of another log')
  const isHandOver = end?.treeSize === treeSize && Buffer.compare(end.root, checkpoint.root) === 0
  if (isRevokedAt(keys, treeSize) && !options.isProven && !isHandOver)
    throw new TokenvaultError(
      'checkpoint_invalid',
      `the key ${keyIdOf(verifier)} was revoked: its checkpoint needs a proof that a later one grew out of it`,
    )
  return checkpoint
}

function keyIdOf({ verifierKey }: NoteVerifier): string {
  return verifierKey.split('+')[1]!
}

/** A checkpoint whose signature nobody has checked. @throws TokenvaultError `checkpoint_invalid` */
export function readUnverifiedCheckpoint(note: string): Checkpoint {
  return parseCheckpoint(parseNote(note).text)
}
