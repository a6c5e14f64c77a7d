import { TokenvaultError } from '../errors.ts'
import { treeHashBytes } from './merkle.ts'
import { createNoteVerifier, decodeBase64, formatNote, type NoteSigner, openNote, parseNote } from './signed-note.ts'

/**
 * The signing key of a log gives way to another one. Up to `treeSize` events the earlier key signs, beyond it the later one, and no
 * tree is signed by both.
 */
export interface HandOver {
  readonly logName: string
  /** Verifier key that steps down. */
  readonly from: string
  /** Verifier key that takes over. */
  readonly to: string
  /** Of the tree at the hand-over, and its root of 32 bytes: both keys sign that the log was this. */
  readonly treeSize: number
  readonly root: Uint8Array
  /** RFC 3339, UTC with milliseconds, by the administrator's clock. */
  readonly at: string
  /** `revoked`: others may have the earlier key, so what it signed is believed only with a proof that leads to a later tree. */
  readonly reason: HandOverReason
}

export type HandOverReason = 'routine' | 'revoked'

/** A log name has no spaces, so no checkpoint begins with this, and no receipt does. */
const handOverLabel = 'tokenvault key hand-over v1'

/** The text that both keys sign, a line each. */
export function formatHandOver(handOver: HandOver): string {
  const { logName, from, to, treeSize, root, at, reason } = handOver
  const lines = [handOverLabel, logName, from, to, treeSize, Buffer.from(root).toString('base64'), at, reason]
  return `${lines.join('\n')}\n`
}

/** @param keys both of one log name @returns a signed note with a signature of each, the earlier first */
export function signHandOver(
  keys: { readonly from: NoteSigner; readonly to: NoteSigner },
  tree: Pick<HandOver, 'treeSize' | 'root' | 'at' | 'reason'>,
): string {
  const { from, to } = keys
  const text = formatHandOver({ logName: from.name, from: from.verifierKey, to: to.verifierKey, ...tree })
  return formatNote(
    text,
    [from, to].map(signer => ({ name: signer.name, signature: signer.sign(text) })),
  )
}

/** @throws TokenvaultError `checkpoint_invalid` unless it is a hand-over that both keys it names have signed */
export function openHandOver(note: string): HandOver {
  const lines = parseNote(note).text.split('\n')
  const [label, logName = '', from = '', to = '', size = '', rootText = '', at = '', reason, ...rest] = lines
  const root = decodeBase64(rootText)
  const treeSize = /^(0|[1-9]\d{0,15})$/.test(size) ? Number(size) : Number.NaN
  if (
    label !== handOverLabel ||
    !Number.isSafeInteger(treeSize) ||
    root?.length !== treeHashBytes ||
    !/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/.test(at) ||
    (reason !== 'routine' && reason !== 'revoked') ||
    rest.join('\n') !== ''
  )
    throw new TokenvaultError('checkpoint_invalid', 'the signed note is not a hand-over')
  const keys = [createNoteVerifier(from), createNoteVerifier(to)]
  if (keys.some(({ name }) => name !== logName))
    throw new TokenvaultError('checkpoint_invalid', 'the hand-over is not from one key of a log to another')
  for (const key of keys) openNote(note, key)
  return { logName, from, to, treeSize, root, at, reason }
}

/** Takes the hand-overs, one after the other, from behind what stands in front of them. Nothing is believed yet. */
export function splitHandOvers(text: string): { readonly before: string; readonly notes: readonly string[] } {
  const [before = '', ...notes] = text.split(new RegExp(`^(?=${handOverLabel}$)`, 'm'))
  // Between notes in a file, people leave empty lines.
  return { before, notes: notes.map(note => note.replace(/\n+$/, '\n')) }
}
