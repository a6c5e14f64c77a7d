import { TokenvaultError } from '../errors.ts'
import { treeHashBytes } from './merkle.ts'
import { decodeBase64, formatNote, type NoteSigner, type NoteVerifier, openNote, parseNote } from './signed-note.ts'

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

/** @throws TokenvaultError `checkpoint_invalid` unless the note is a checkpoint of the log whose key the verifier has */
export function openCheckpoint(note: string, verifier: NoteVerifier): Checkpoint {
  const checkpoint = parseCheckpoint(openNote(note, verifier))
  // One key could sign for several logs; a checkpoint of another proves nothing about this one.
  if (checkpoint.logName !== verifier.name)
    throw new TokenvaultError('checkpoint_invalid', 'the checkpoint is of another log')
  return checkpoint
}

/** A checkpoint whose signature nobody has checked. @throws TokenvaultError `checkpoint_invalid` */
export function readUnverifiedCheckpoint(note: string): Checkpoint {
  return parseCheckpoint(parseNote(note).text)
}
