import { TokenvaultError } from '../errors.ts'
import type { LogKeys } from './key-history.ts'
import { checkProof, type Proven } from './proof.ts'
import { openReceipt } from './receipt.ts'

/** What a checked receipt says. */
export interface CheckedReceipt {
  readonly sequence: number
  readonly leafHash: Uint8Array
  /** What the proof that came along shows: that the log kept what the receipt promised. */
  readonly proven?: Extract<Proven, { kind: 'inclusion' }>
}

/**
 * Checks a receipt with the verifier keys alone, and, where one is given, that a proof is about the receipt's event.
 *
 * @param receipt as it came, of any shape; the whole reply that it stood in does as well
 * @param proof as it came, of any shape; undefined for none
 * @throws TokenvaultError `receipt_invalid`, `checkpoint_invalid`
 */
export function checkReceipt(receipt: unknown, keys: LogKeys, proof?: unknown): CheckedReceipt {
  const { receipt: inner = receipt } = Object(receipt) as { receipt?: unknown }
  const place = openReceipt(inner, keys, { isProven: proof !== undefined })
  if (proof === undefined) return place
  const proven = checkProof(proof, keys)
  if (
    proven.kind !== 'inclusion' ||
    proven.sequence !== place.sequence ||
    Buffer.compare(proven.leafHash, place.leafHash) !== 0
  )
    throw new TokenvaultError('receipt_invalid', 'the proof is not about the event of the receipt')
  return { ...place, proven }
}
