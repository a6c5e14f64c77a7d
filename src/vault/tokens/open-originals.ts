import { packBytes, unpackText } from '../../crypto/byte-column.ts'
import type { Sealer } from '../../crypto/seal.ts'
import type { TokenKey } from '../../crypto/token.ts'
import { isRest } from '../../crypto/typed-token.ts'
import type { ErrorCode } from '../../errors.ts'
import type { Field } from '../fields/fields.ts'
import type { FieldKeys } from '../keys/field-keys.ts'
import type { SealedOriginal, TokenId } from './ports.ts'

/** An original, and the token that its value must belong to. */
export interface Unopened {
  /** Of the token that was asked about, never of the row: a row that stands in another's place must not open. */
  readonly id: TokenId
  readonly original: SealedOriginal
}

/** The normalized value, or why there is none. */
export type Opened = { readonly value: string } | { readonly code: ErrorCode }

/**
 * Opens originals of one field and key versions: the seal of the data key, then AES-SIV with the token as its SIV, which proves
 * that value and token belong together. Of a typed token a part of the SIV comes from the row, so that the row of another value
 * with an equal token does not open either.
 *
 * @param field of the originals, which says how its tokens are spelled
 * @returns one answer an original, in input order; `original_not_authentic` where the row was changed
 */
export function openColumn(
  { format }: Pick<Field, 'format'>,
  { sealer, tokenKey }: { readonly sealer: Sealer; readonly tokenKey: TokenKey },
  originals: readonly Unopened[],
): Opened[] {
  const ids = originals.map(({ id }) => id)
  const typed = format === 'text' ? undefined : { format, rests: originals.map(({ original }) => original.sivRest) }
  const ciphertexts = sealer.open(packBytes(originals.map(({ original }) => original.sealed)), ids)
  const { plaintexts, authentic } = tokenKey.open(ids, ciphertexts.plaintexts, typed)
  return unpackText(plaintexts).map((value, index) => {
    const { sivRest } = originals[index]!.original
    const isWhole = format === 'text' ? sivRest === undefined || sivRest === null : isRest(format, sivRest)
    const isAuthentic = isWhole && ciphertexts.authentic[index] === 1 && authentic[index] === 1
    return isAuthentic ? { value } : { code: 'original_not_authentic' }
  })
}

/** As openColumn, for originals of one field under any versions of its keys; `key_unavailable` where a key is not held. */
export function openOriginals(
  keys: FieldKeys,
  field: Pick<Field, 'name' | 'format'>,
  originals: readonly Unopened[],
): Opened[] {
  const opened = new Array<Opened>(originals.length).fill({ code: 'key_unavailable' })
  const places = Map.groupBy(originals.keys(), index => {
    const { tokenKeyVersion, dataKeyVersion } = originals[index]!.original
    return `${tokenKeyVersion}/${dataKeyVersion}`
  })
  for (const group of places.values()) {
    const members = group.map(place => originals[place]!)
    const { tokenKeyVersion, dataKeyVersion } = members[0]!.original
    const sealer = keys.sealer('data', field.name, dataKeyVersion)
    const tokenKey = keys.tokenKey(field.name, tokenKeyVersion)
    if (sealer === undefined || tokenKey === undefined) continue
    for (const [order, answer] of openColumn(field, { sealer, tokenKey }, members).entries())
      opened[group[order]!] = answer
  }
  return opened
}
