import { TokenvaultError } from '../errors.ts'
import { type Checkpoint, openCheckpoint } from './checkpoint.ts'
import type { LogKeys } from './key-history.ts'
import { leafHash, verifyConsistency, verifyInclusion } from './merkle.ts'
import { decodeBase64 } from './signed-note.ts'

/** Proves that an event stands in the tree that a checkpoint signs. JSON; the format is in docs/evidence.md. */
export interface InclusionProof {
  readonly sequence: number
  /** The stored bytes as text. A proof may be passed on without it: the leaf hash then stands for it. */
  readonly event?: string
  /** base64 of 32 bytes. */
  readonly leafHash: string
  /** base64 of 32 bytes each, from the leaf's sibling up (RFC 9162, 2.1.3.1). */
  readonly path: readonly string[]
  /** Signed note. */
  readonly checkpoint: string
}

/** Proves that the tree of one checkpoint has grown out of the tree of another: nothing was changed or removed. */
export interface ConsistencyProof {
  /** Signed note of the smaller tree. */
  readonly from: string
  /** Signed note of the larger tree. */
  readonly to: string
  /** base64 of 32 bytes each (RFC 9162, 2.1.4.1). */
  readonly path: readonly string[]
}

/** What a checked proof proves. */
export type Proven =
  | {
      readonly kind: 'inclusion'
      readonly sequence: number
      readonly leafHash: Uint8Array
      readonly event: string | undefined
      readonly checkpoint: Checkpoint
    }
  | { readonly kind: 'consistency'; readonly from: Checkpoint; readonly to: Checkpoint }

/**
 * Checks a proof with the verifier keys alone.
 *
 * @param proof as it came, of any shape
 * @throws TokenvaultError `receipt_invalid` for what is not a proof, or proves nothing, `checkpoint_invalid` where a
 *   checkpoint in it is not one of the log
 */
export function checkProof(proof: unknown, keys: LogKeys): Proven {
  const members = Object(proof) as Record<string, unknown>
  return 'sequence' in members ? checkInclusion(members, keys) : checkConsistency(members, keys)
}

function checkInclusion(proof: Record<string, unknown>, keys: LogKeys): Proven {
  const { sequence, event } = proof
  const leaf = readHash(proof['leafHash'])
  const path = readPath(proof['path'])
  const note = proof['checkpoint']
  if (typeof sequence !== 'number' || leaf === undefined || path === undefined || typeof note !== 'string')
    throw notAProof()
  if (event !== undefined && (typeof event !== 'string' || !event.isWellFormed())) throw notAProof()
  const checkpoint = openCheckpoint(note, keys)
  if (event !== undefined && Buffer.compare(leafHash(Buffer.from(event, 'utf8')), leaf) !== 0)
    throw new TokenvaultError('receipt_invalid', 'the leaf hash is not that of the event')
  const { treeSize, root } = checkpoint
  if (!verifyInclusion({ index: sequence, size: treeSize, leafHash: leaf, path, root }))
    throw new TokenvaultError('receipt_invalid', 'the path does not lead from the event to the checkpoint')
  return { kind: 'inclusion', sequence, leafHash: leaf, event, checkpoint }
}

function checkConsistency(proof: Record<string, unknown>, keys: LogKeys): Proven {
  const path = readPath(proof['path'])
  if (typeof proof['from'] !== 'string' || typeof proof['to'] !== 'string' || path === undefined) throw notAProof()
  // The path vouches for the smaller tree, once its larger one is believed.
  const from = openCheckpoint(proof['from'], keys, { isProven: true })
  const to = openCheckpoint(proof['to'], keys)
  const [first, second] = [from.treeSize, to.treeSize]
  if (!verifyConsistency({ first, second, firstRoot: from.root, secondRoot: to.root, path }))
    throw new TokenvaultError('receipt_invalid', 'the path does not lead from one checkpoint to the other')
  return { kind: 'consistency', from, to }
}

function readPath(path: unknown): Uint8Array[] | undefined {
  if (!Array.isArray(path)) return undefined
  const hashes = path.map(readHash)
  return hashes.every(hash => hash !== undefined) ? hashes : undefined
}

/** Its length is checked where it is used. */
function readHash(text: unknown): Uint8Array | undefined {
  return typeof text === 'string' ? decodeBase64(text) : undefined
}

function notAProof(): TokenvaultError {
  return new TokenvaultError('receipt_invalid', 'it is not a proof')
}
