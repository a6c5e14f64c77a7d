import { TokenvaultError } from '../errors.ts'
import { formatHandOver, type HandOver, openHandOver, splitHandOvers } from './hand-over.ts'
import { createNoteVerifier, type NoteVerifier } from './signed-note.ts'

/** One key of a log, and the trees that it signs: those of more than `above` and at most `upTo` events. */
export interface KeySpan {
  readonly verifier: NoteVerifier
  readonly above: number
  readonly upTo: number
  /** By which the key stepped down; absent of the last key. */
  readonly end?: HandOver | undefined
}

/** All keys of a log, in the order of their validity. */
export interface LogVerifier {
  /** Log name. */
  readonly name: string
  readonly spans: readonly KeySpan[]
}

/** One key that signs trees of every size, or the keys of a log that has handed over. */
export type LogKeys = NoteVerifier | LogVerifier

/** The keys of a log in order; of a log that never handed over, its one key for trees of every size. */
export function spansOf(keys: LogKeys): readonly KeySpan[] {
  return 'spans' in keys ? keys.spans : [{ verifier: keys, above: -1, upTo: Number.POSITIVE_INFINITY }]
}

/** The key that signs a tree of that size. A receipt for a sequence is of the tree that ends with its event. */
export function spanAt(keys: LogKeys, treeSize: number): KeySpan {
  const spans = spansOf(keys)
  return spans.find(({ upTo }) => treeSize <= upTo) ?? spans.at(-1)!
}

/** Whether the key that signs a tree of that size was revoked when it stepped down: others may have it. */
export function isRevokedAt(keys: LogKeys, treeSize: number): boolean {
  return spanAt(keys, treeSize).end?.reason === 'revoked'
}

/**
 * Goes from keys that are known to all keys of the log by its hand-overs, each of which is signed by both of its keys and begins
 * where the one before it ended.
 *
 * @param keys known ones, none of which may turn out to be another
 * @param notes signed notes, in any order
 * @throws TokenvaultError `checkpoint_invalid` for one that is none of this log, or contradicts the keys or another hand-over
 */
export function followHandOvers(keys: LogKeys, notes: readonly string[]): LogVerifier {
  const known = spansOf(keys)
  const ends = known.flatMap(({ end }) => end ?? [])
  const handOvers = [...ends, ...notes.map(openHandOver)]
  const all = distinct(handOvers)
  const first = findFirst(known[0]!.verifier.verifierKey, all)
  const spans: KeySpan[] = []
  let verifier = createNoteVerifier(first)
  let above = -1
  for (let end = all.get(first); end !== undefined; end = all.get(end.to)) {
    if (end.treeSize <= above) throw refuse('a hand-over ends a key before it began')
    spans.push({ verifier, above, upTo: end.treeSize, end })
    above = end.treeSize
    verifier = createNoteVerifier(end.to)
  }
  spans.push({ verifier, above, upTo: Number.POSITIVE_INFINITY })
  if (spans.length !== all.size + 1) throw refuse('a hand-over is not linked to the keys that are known')
  return { name: keys.name, spans }
}

/** Hand-overs by the key that steps down. @throws TokenvaultError `checkpoint_invalid` where two of one key differ */
function distinct(handOvers: readonly HandOver[]): ReadonlyMap<string, HandOver> {
  const all = new Map<string, HandOver>()
  for (const handOver of handOvers) {
    const other = all.get(handOver.from)
    if (other !== undefined && !isSame(other, handOver))
      throw refuse('two hand-overs of the log contradict each other: tell the security team')
    all.set(handOver.from, handOver)
  }
  return all
}

/** The key from which hand-overs lead to the one that is known. Its successor signed for it, too. */
function findFirst(key: string, all: ReadonlyMap<string, HandOver>): string {
  let first = key
  for (let left = all.size; left > 0; left--) first = [...all.values()].find(({ to }) => to === first)?.from ?? first
  return first
}

function isSame(a: HandOver, b: HandOver): boolean {
  return formatHandOver(a) === formatHandOver(b)
}

/**
 * The keys of a log as its own process knows them: it holds the key that signs now.
 *
 * @param last verifier key of the one that signs now
 * @throws TokenvaultError `checkpoint_invalid` where the hand-overs do not lead to it
 */
export function traceHandOvers(last: string, notes: readonly string[]): LogVerifier {
  const traced = followHandOvers(createNoteVerifier(last), notes)
  if (traced.spans.at(-1)!.verifier.verifierKey !== last)
    throw refuse('the hand-overs of the log do not lead to the key that signs now')
  return traced
}

/**
 * Keys as an outsider keeps them in a file: the verifier key that was pinned first, alone in its line, and after it the hand-overs
 * since, one note after the other.
 *
 * @throws TokenvaultError `checkpoint_invalid`
 */
export function readLogKeys(text: string): LogVerifier {
  const { before, notes } = splitHandOvers(text)
  const lines = before.split('\n').filter(line => line.trim() !== '')
  const [first = '', ...later] = lines.map(line => line.trim())
  const followed = followHandOvers(createNoteVerifier(first), notes)
  // A later key says nothing about the trees that it signs: that is what its hand-over is for.
  for (const key of later)
    if (!followed.spans.some(({ verifier }) => verifier.verifierKey === key))
      throw refuse('a verifier key has no hand-over that leads to it')
  return followed
}

/** As readLogKeys takes them: the first key, and every hand-over since. */
export function formatLogKeys(keys: LogKeys, notes: readonly string[]): string {
  return [`${spansOf(keys)[0]!.verifier.verifierKey}\n`, ...notes].join('\n')
}

function refuse(why: string): TokenvaultError {
  return new TokenvaultError('checkpoint_invalid', why)
}
