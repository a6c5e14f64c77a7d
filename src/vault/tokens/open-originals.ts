import { packBytes, unpackText } from '../../crypto/byte-column.ts'
import type { ErrorCode } from '../../errors.ts'
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
 * Opens originals: the seal of the data key, then AES-SIV with the token as its SIV, which proves that value and token belong
 * together. Those of one field and key versions are opened as one column.
 *
 * @returns one answer an original, in input order: `key_unavailable` where a key of the row's versions is not held,
 *   `original_not_authentic` where the row was changed
 */
export function openOriginals(keys: FieldKeys, originals: readonly Unopened[]): Opened[] {
  const opened = new Array<Opened>(originals.length)
  const groups = new Map<string, number[]>()
  for (const [index, { original }] of originals.entries()) {
    const group = `${original.field}/${original.tokenKeyVersion}/${original.dataKeyVersion}`
    const members = groups.get(group)
    if (members === undefined) groups.set(group, [index])
    else members.push(index)
  }
  for (const places of groups.values()) {
    const group = openGroup(
      keys,
      places.map(place => originals[place]!),
    )
    for (const [order, place] of places.entries()) opened[place] = group[order]!
  }
  return opened
}

/** Originals of one field and key versions. */
function openGroup(keys: FieldKeys, members: readonly Unopened[]): Opened[] {
  const { field, tokenKeyVersion, dataKeyVersion } = members[0]!.original
  const sealer = keys.sealer('data', field, dataKeyVersion)
  const tokenKey = keys.tokenKey(field, tokenKeyVersion)
  if (sealer === undefined || tokenKey === undefined) return members.map(() => ({ code: 'key_unavailable' }))
  const ids = members.map(({ id }) => id)
  const ciphertexts = sealer.open(packBytes(members.map(({ original }) => original.sealed)), ids)
  const { plaintexts, authentic } = tokenKey.open(ids, ciphertexts.plaintexts)
  return unpackText(plaintexts).map((value, index) =>
    ciphertexts.authentic[index] === 0 || authentic[index] === 0 ? { code: 'original_not_authentic' } : { value },
  )
}
