import { hash } from 'node:crypto'
import { TokenvaultError } from '../errors.ts'
import { isRevokedAt, type KeySpan, type LogKeys, spanAt, spansOf } from './key-history.ts'
import { treeHashBytes } from './merkle.ts'
import { checkProof, type InclusionProof } from './proof.ts'
import { decodeBase64, formatNote, isSignedBy, type NoteSigner, openNote, parseNote } from './signed-note.ts'

/** How many of one kind an erasure removed, or left and why. */
export interface ErasedCount {
  readonly kind: string
  /** Field of the values; absent or null where the line is not about values. */
  readonly field?: string | null
  readonly count: number
}

/** Place of an event in the log, as its leaf says. */
export interface EventPlace {
  readonly sequence: number
  /** base64 of 32 bytes. */
  readonly leafHash: string
}

/** What a certificate says of an erasure: first part, signed when the rows were gone. It names the person by a keyed digest alone. */
export interface ErasureStatement {
  /** Place in the erasure ledger, from 1. */
  readonly number: number
  /** SHA-256 of the signed text of the entry before it, of nothing for the first; base64. */
  readonly previous: string
  /** RFC 3339, UTC. */
  readonly at: string
  /** Keyed digest of the user_id, 22 letters of base64url. */
  readonly person: string
  /** The event of the erasure in the log. */
  readonly event: EventPlace
  readonly rows: 'remove' | 'anonymize'
  readonly counts: readonly ErasedCount[]
  /** Number of erased tokens, and SHA-256 (base64) of their keyed digests, sorted, a line each. */
  readonly tokens: { readonly count: number; readonly sha256: string }
  /** Quarantined bodies that name no person: nobody can say whose they are. */
  readonly unattributed: number
  /**
   * What opens the erased values in backups from before: until all these keys are destroyed, and then the KEK that wrapped them is
   * replaced, backups open them. No date is promised.
   */
  readonly backups: { readonly keys: readonly string[]; readonly keks: readonly string[] }
}

/** Second part: the keys with which backups from before could be opened are gone. */
export interface CompletionStatement {
  readonly number: number
  /** SHA-256 of the signed text of the first part, base64. */
  readonly certificate: string
  readonly at: string
  /** Each key of `backups`, with the event of its destruction. */
  readonly destroyed: readonly (EventPlace & { readonly key: string })[]
  /** The event with which another KEK took over after the last of them, and that KEK's id. */
  readonly rewrapped: EventPlace & { readonly kek: string }
}

/** What an outsider is given: notes, and proofs that the events they name stand in the log. JSON; docs/people.md says how to check it. */
export interface ErasureCertificate {
  /** Signed note. */
  readonly certificate: string
  /** Absent until a checkpoint covers the event. */
  readonly proof?: InclusionProof
  /** Signed note; absent until `tokenvault erasure complete`. */
  readonly completion?: string
  /** Of the events that the completion names. */
  readonly completionProofs?: readonly InclusionProof[]
}

const labels = { erasure: 'tokenvault erasure v1', completion: 'tokenvault erasure completion v1' } as const

/** Text that is signed: a line each for label, log name, and the statement as JSON. */
function formatStatement(label: string, logName: string, statement: object): string {
  return `${label}\n${logName}\n${JSON.stringify(statement)}\n`
}

function signStatement(signer: NoteSigner, label: string, statement: object): string {
  const text = formatStatement(label, signer.name, statement)
  return formatNote(text, [{ name: signer.name, signature: signer.sign(text) }])
}

/** @returns the first part as a signed note */
export function signErasure(signer: NoteSigner, statement: ErasureStatement): string {
  return signStatement(signer, labels.erasure, statement)
}

/** @returns the second part as a signed note */
export function signCompletion(signer: NoteSigner, statement: CompletionStatement): string {
  return signStatement(signer, labels.completion, statement)
}

/** SHA-256 of the signed text of a note, base64: what the next entry and the second part name. @throws TokenvaultError `erasure_invalid` */
export function hashOfNote(note: string): string {
  return sha256(textOf(note))
}

/** What the first entry names in place of one before it. */
export const emptyLedgerHash = sha256('')

/** @param digests of erased tokens, in any order */
export function hashOfTokens(digests: readonly string[]): string {
  return sha256(
    [...digests]
      .sort()
      .map(digest => `${digest}\n`)
      .join(''),
  )
}

/** @throws TokenvaultError `erasure_invalid` unless the note is a first part that the verifier's key signed */
export function openErasure(note: string, keys: LogKeys): ErasureStatement {
  const { statement, span } = openStatement(note, keys, labels.erasure)
  const { number, previous, at, person, event, rows, counts, tokens, unattributed, backups } =
    statement as Partial<ErasureStatement>
  const isWhole =
    isPositive(number) &&
    isHash(previous) &&
    typeof at === 'string' &&
    typeof person === 'string' &&
    isPlace(event) &&
    (rows === 'remove' || rows === 'anonymize') &&
    Array.isArray(counts) &&
    isHash(tokens?.sha256) &&
    Number.isSafeInteger(tokens?.count) &&
    Number.isSafeInteger(unattributed) &&
    Array.isArray(backups?.keys) &&
    Array.isArray(backups?.keks)
  if (!isWhole) throw invalid('it is not a certificate of an erasure')
  if (span.verifier !== spanAt(keys, event!.sequence + 1).verifier)
    throw invalid('it is signed by a key of the log that signs no event of its sequence')
  return statement as ErasureStatement
}

/** @throws TokenvaultError `erasure_invalid` unless the note is a second part that the verifier's key signed */
export function openCompletion(note: string, keys: LogKeys): CompletionStatement {
  const { statement, span } = openStatement(note, keys, labels.completion)
  const { number, certificate, at, destroyed, rewrapped } = statement as Partial<CompletionStatement>
  const isWhole =
    isPositive(number) &&
    isHash(certificate) &&
    typeof at === 'string' &&
    Array.isArray(destroyed) &&
    destroyed.every(entry => isPlace(entry) && typeof entry.key === 'string') &&
    isPlace(rewrapped) &&
    typeof rewrapped?.kek === 'string'
  if (!isWhole) throw invalid('it is not the second part of a certificate')
  // It was signed at some time after the events that it names. Whoever has a key that was revoked could sign it at any time.
  if (span.upTo <= rewrapped!.sequence || span.end?.reason === 'revoked')
    throw invalid('it is signed by a key of the log that was no longer in use')
  return statement as CompletionStatement
}

/** What a checked certificate shows. */
export interface CheckedCertificate {
  readonly erasure: ErasureStatement
  /** Whether a proof shows that the event of the erasure stands in the log. */
  readonly isProven: boolean
  /** Absent where there is no second part: then backups of before still open what `erasure.backups` names. */
  readonly completion?: CompletionStatement
}

/**
 * Checks a certificate with the verifier key alone.
 *
 * @param file as it came, of any shape
 * @throws TokenvaultError `erasure_invalid` for what does not prove what it says, `receipt_invalid` and `checkpoint_invalid` for a proof
 *   that is wrong
 */
export function checkCertificate(file: unknown, keys: LogKeys): CheckedCertificate {
  const { certificate, proof, completion, completionProofs = [] } = Object(file) as Record<string, unknown>
  if (typeof certificate !== 'string') throw invalid('it holds no certificate')
  const erasure = openErasure(certificate, keys)
  if (proof !== undefined) {
    const event = readEvent(proof, erasure.event, keys)
    if (
      event['type'] !== 'person_erased' ||
      Object(event['erasure'])['person'] !== erasure.person ||
      Object(event['erasure'])['number'] !== erasure.number
    )
      throw invalid('the event that is proven is not that of this erasure')
  }
  if (proof === undefined && isRevokedAt(keys, erasure.event.sequence + 1))
    throw invalid('its key was revoked: it needs a proof of its event')
  const checked = { erasure, isProven: proof !== undefined }
  if (completion === undefined) return checked
  if (typeof completion !== 'string' || !Array.isArray(completionProofs)) throw invalid('its second part is malformed')
  const second = openCompletion(completion, keys)
  if (second.number !== erasure.number || second.certificate !== hashOfNote(certificate))
    throw invalid('its second part is that of another certificate')
  const missing = erasure.backups.keys.filter(key => !second.destroyed.some(entry => entry.key === key))
  if (missing.length > 0) throw invalid(`its second part does not name the destruction of ${missing.join(', ')}`)
  if (erasure.backups.keks.includes(second.rewrapped.kek)) throw invalid('the KEK of before is still in use')
  if (second.destroyed.some(({ sequence }) => sequence > second.rewrapped.sequence))
    throw invalid('a key was destroyed after the last change of the KEK')
  checkKeyEvents(second, completionProofs, keys)
  return { ...checked, completion: second }
}

/** Each event that the second part names is proven, and says what it is named for. */
function checkKeyEvents(
  { destroyed, rewrapped }: CompletionStatement,
  proofs: readonly unknown[],
  keys: LogKeys,
): void {
  const bySequence = new Map(proofs.map(proof => [Number(Object(proof)['sequence']), proof]))
  for (const { key, ...place } of destroyed) {
    const event = readEvent(bySequence.get(place.sequence), place, keys)
    const destroyedKeys = event['keys']
    if (event['type'] !== 'key_destroy' || !Array.isArray(destroyedKeys) || !destroyedKeys.includes(key))
      throw invalid(`event ${place.sequence} is not the destruction of ${key}`)
  }
  const { type, kek } = readEvent(bySequence.get(rewrapped.sequence), rewrapped, keys)
  if (type !== 'key_rewrap' || kek !== rewrapped.kek)
    throw invalid(`event ${rewrapped.sequence} is not the change of the KEK`)
}

function readEvent(proof: unknown, place: EventPlace, keys: LogKeys): Record<string, unknown> {
  if (proof === undefined) throw invalid(`there is no proof of event ${place.sequence}`)
  const proven = checkProof(proof, keys)
  if (
    proven.kind !== 'inclusion' ||
    proven.event === undefined ||
    proven.sequence !== place.sequence ||
    Buffer.from(proven.leafHash).toString('base64') !== place.leafHash
  )
    throw invalid(`the proof is not about event ${place.sequence}`)
  return Object(parseJson(proven.event)) as Record<string, unknown>
}

function openStatement(
  note: string,
  keys: LogKeys,
  label: string,
): { readonly statement: object; readonly span: KeySpan } {
  const span = spansOf(keys).find(({ verifier }) => isSignedBy(note, verifier)) ?? spansOf(keys).at(-1)!
  let text: string
  try {
    text = openNote(note, span.verifier)
  } catch (error) {
    if (error instanceof TokenvaultError) throw invalid(error.message)
    throw error
  }
  const [first, logName, json, ...rest] = text.split('\n')
  if (first !== label || json === undefined || rest.join('\n') !== '') throw invalid(`its first line is not "${label}"`)
  if (logName !== keys.name) throw invalid('it is of another log')
  return { statement: Object(parseJson(json)) as object, span }
}

function textOf(note: string): string {
  try {
    return parseNote(note).text
  } catch (error) {
    if (error instanceof TokenvaultError) throw invalid(error.message)
    throw error
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    throw invalid('it does not hold JSON where it has to')
  }
}

function sha256(text: string): string {
  return hash('sha256', text, 'base64')
}

function isPositive(value: unknown): boolean {
  return Number.isSafeInteger(value) && Number(value) > 0
}

function isHash(value: unknown): boolean {
  return typeof value === 'string' && decodeBase64(value)?.length === treeHashBytes
}

function isPlace(value: unknown): boolean {
  const { sequence, leafHash } = Object(value) as Partial<EventPlace>
  return Number.isSafeInteger(sequence) && Number(sequence) >= 0 && isHash(leafHash)
}

function invalid(why: string): TokenvaultError {
  return new TokenvaultError('erasure_invalid', why)
}
