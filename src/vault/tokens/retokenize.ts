import { packText, valueAt } from '../../crypto/byte-column.ts'
import { TokenvaultError } from '../../errors.ts'
import type { Field } from '../fields/fields.ts'
import type { FieldKeys } from '../keys/field-keys.ts'
import { linkTokens } from './aliases.ts'
import { openOriginals } from './open-originals.ts'
import type { SealedOriginal, TokenAlias, TokenId } from './ports.ts'

/** What takes the place of some originals. */
export interface Successors {
  readonly originals: readonly SealedOriginal[]
  readonly aliases: readonly TokenAlias[]
  /** Aliases that led to one of the earlier tokens, and lead to its successor now. Only what a proof covers is new in them. */
  readonly chained: readonly TokenAlias[]
}

/**
 * Gives originals of one earlier token key their successors under the primary one. Values are in memory while that takes, and
 * nowhere else.
 *
 * @param earlier originals of the field, all of token key version `from`
 * @param leading aliases whose successors are among them
 * @returns what is to be stored, and how many were left: not authentic, or of a key that is not held
 */
export function retokenizeOriginals(
  keys: FieldKeys,
  field: Field,
  earlier: readonly SealedOriginal[],
  {
    from,
    leading,
  }: {
    readonly from: number
    readonly leading: readonly { readonly tokenId: TokenId; readonly successor: TokenId }[]
  },
): Successors & { readonly notAuthentic: number; readonly keyMissing: number } {
  const opened = openOriginals(
    keys,
    field,
    earlier.map(original => ({ id: original.tokenId, original })),
  )
  const values: string[] = []
  const ids: TokenId[] = []
  let [notAuthentic, keyMissing] = [0, 0]
  for (const [index, answer] of opened.entries()) {
    if ('value' in answer) {
      values.push(answer.value)
      ids.push(earlier[index]!.tokenId)
    } else if (answer.code === 'key_unavailable') keyMissing++
    else notAuthentic++
  }
  if (values.length === 0) return { originals: [], aliases: [], chained: [], notAuthentic, keyMissing }
  const version = keys.primaryVersion('token', field.name)
  const dataKeyVersion = keys.primaryVersion('data', field.name)
  const earlierKey = keys.tokenKey(field.name, from)
  if (version === from || earlierKey === undefined)
    throw new TokenvaultError('keys_changed', `token/${field.name}/v${from} is the primary key, or is not held`)
  const made = keys.tokenKey(field.name, version)!.tokenize(packText(values), field)
  const sealed = keys.sealer('data', field.name, dataKeyVersion)!.seal(made.ciphertexts, made.ids)
  const to = { version, tokens: made.tokens, ids: made.ids }
  const tokens = earlierKey.tokensOfIds(ids, field)
  const places = new Map(ids.map((id, index) => [id, index]))
  const led = leading.flatMap(({ tokenId, successor }) => {
    const place = places.get(successor)
    return place === undefined ? [] : [{ tokenId, place }]
  })
  return {
    originals: made.ids.map((tokenId, index) => ({
      tokenId,
      field: field.name,
      tokenKeyVersion: version,
      dataKeyVersion,
      sealed: valueAt(sealed, index),
      ...(made.rests === undefined ? {} : { sivRest: made.rests[index]! }),
    })),
    aliases: linkTokens(keys, field.name, { version: from, tokens, ids }, to),
    chained: linkTokens(
      keys,
      field.name,
      { version: from, tokens: led.map(({ place }) => tokens[place]!), ids: led.map(({ tokenId }) => tokenId) },
      { version, tokens: led.map(({ place }) => to.tokens[place]!), ids: led.map(({ place }) => to.ids[place]!) },
    ),
    notAuthentic,
    keyMissing,
  }
}
