import { TokenvaultError } from '../errors.ts'
import { treeHashBytes } from './merkle.ts'
import { decodeBase64, type NoteSigner, type NoteVerifier } from './signed-note.ts'

/** Signed place of one event in the log, as a caller gets it with the reply that the event is about. */
export interface Receipt {
  /** Log name. */
  readonly log: string
  readonly sequence: number
  /** base64 of 32 bytes. */
  readonly leafHash: string
  /** base64 of key id ‖ Ed25519 signature, as in a note's signature line. */
  readonly signature: string
}

/** A log name has no spaces, so no checkpoint begins with this: neither is ever taken for the other. */
const receiptLabel = 'tokenvault receipt v1'

/** The text that a receipt's signature signs: a line each for label, log name, decimal sequence, and leaf hash in base64. */
export function formatReceipt({ log, sequence, leafHash }: Omit<Receipt, 'signature'>): string {
  return `${receiptLabel}\n${log}\n${sequence}\n${leafHash}\n`
}

/** @param event.leafHash 32 bytes */
export function signReceipt(
  signer: NoteSigner,
  event: { readonly sequence: number; readonly leafHash: Uint8Array },
): Receipt {
  const place = {
    log: signer.name,
    sequence: event.sequence,
    leafHash: Buffer.from(event.leafHash).toString('base64'),
  }
  return { ...place, signature: signer.sign(formatReceipt(place)) }
}

/**
 * @param receipt as it came, of any shape
 * @returns the place it names, once its signature was found right
 * @throws TokenvaultError `receipt_invalid`
 */
export function openReceipt(
  receipt: unknown,
  verifier: NoteVerifier,
): { readonly sequence: number; readonly leafHash: Uint8Array } {
  const { log, sequence, leafHash, signature } = shapeOf(receipt)
  const bytes = decodeBase64(leafHash)
  if (bytes?.length !== treeHashBytes || !Number.isSafeInteger(sequence) || sequence < 0)
    throw new TokenvaultError('receipt_invalid', 'it is not a receipt')
  if (log !== verifier.name) throw new TokenvaultError('receipt_invalid', 'the receipt is of another log')
  if (!verifier.verify(formatReceipt({ log, sequence, leafHash }), signature))
    throw new TokenvaultError('receipt_invalid', 'the signature of the receipt is wrong, or of another key')
  return { sequence, leafHash: bytes }
}

function shapeOf(receipt: unknown): Receipt {
  const { log, sequence, leafHash, signature } = Object(receipt) as Record<string, unknown>
  if (
    typeof log !== 'string' ||
    typeof sequence !== 'number' ||
    typeof leafHash !== 'string' ||
    typeof signature !== 'string'
  )
    throw new TokenvaultError('receipt_invalid', 'it is not a receipt')
  return { log, sequence, leafHash, signature }
}
