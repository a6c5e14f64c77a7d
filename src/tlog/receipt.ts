import { TokenvaultError } from '../errors.ts'
import { isRevokedAt, type LogKeys, spanAt, spansOf } from './key-history.ts'
import { treeHashBytes } from './merkle.ts'
import { decodeBase64, type NoteSigner } from './signed-note.ts'

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
 * @param options.isProven whether a proof shows that the event stands in the log: then a key that was revoked since does, too
 * @returns the place it names, once its signature was found right
 * @throws TokenvaultError `receipt_invalid`
 */
export function openReceipt(
  receipt: unknown,
  keys: LogKeys,
  options: { readonly isProven: boolean } = { isProven: false },
): { readonly sequence: number; readonly leafHash: Uint8Array } {
  const { log, sequence, leafHash, signature } = shapeOf(receipt)
  const bytes = decodeBase64(leafHash)
  if (bytes?.length !== treeHashBytes || !Number.isSafeInteger(sequence) || sequence < 0)
    throw new TokenvaultError('receipt_invalid', 'it is not a receipt')
  if (log !== keys.name) throw new TokenvaultError('receipt_invalid', 'the receipt is of another log')
  const text = formatReceipt({ log, sequence, leafHash })
  if (!spanAt(keys, sequence + 1).verifier.verify(text, signature)) {
    const isOfOther = spansOf(keys).some(({ verifier }) => verifier.verify(text, signature))
    const why = isOfOther ? 'the receipt is signed by a key of the log that signs no event of its sequence' : wrong
    throw new TokenvaultError('receipt_invalid', why)
  }
  if (isRevokedAt(keys, sequence + 1) && !options.isProven)
    throw new TokenvaultError('receipt_invalid', 'the key of the receipt was revoked: it needs a proof of its event')
  return { sequence, leafHash: bytes }
}

const wrong = 'the signature of the receipt is wrong, or of another key'

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
