import { packBytes, valueAt } from '../../crypto/byte-column.ts'
import type { Sealer } from '../../crypto/seal.ts'
import type { SealedOriginal } from './ports.ts'

/** A data key of one field, and its version. */
export interface DataKey {
  readonly version: number
  readonly sealer: Sealer
}

/** What became of one original: sealed under the other data key, or left as it is because it is not authentic. */
export type ResealedOriginal = SealedOriginal | { readonly code: 'original_not_authentic' }

/**
 * Re-seals originals from one data key to another. It works on ciphertexts: under the seal is what the token key made, and no
 * token key is here, so no value is ever seen and no token changes.
 *
 * @param originals of the field of both data keys, all sealed under `from`
 * @returns one answer an original, in input order
 * @throws RangeError where an original names another data key version than that of `from`: its seal would not open, and it
 *   would be taken for one that was changed
 */
export function resealOriginals(originals: readonly SealedOriginal[], from: DataKey, to: DataKey): ResealedOriginal[] {
  if (originals.some(({ dataKeyVersion }) => dataKeyVersion !== from.version))
    throw new RangeError('an original is sealed under another data key version')
  const ids = originals.map(({ tokenId }) => tokenId)
  const { plaintexts, authentic } = from.sealer.open(packBytes(originals.map(({ sealed }) => sealed)), ids)
  const resealed = to.sealer.seal(plaintexts, ids)
  return originals.map((original, index) =>
    authentic[index] === 0
      ? { code: 'original_not_authentic' }
      : { ...original, dataKeyVersion: to.version, sealed: valueAt(resealed, index) },
  )
}
