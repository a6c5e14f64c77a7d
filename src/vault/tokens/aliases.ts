import { type ByteColumn, packBytes, packIds, valueAt } from '../../crypto/byte-column.ts'
import type { Field } from '../fields/fields.ts'
import type { FieldKeys } from '../keys/field-keys.ts'
import type { SealedOriginal, TokenAlias, TokenId } from './ports.ts'

/** Tokens of one field under one version, and the ids of each. */
export interface FieldTokens {
  readonly version: number
  readonly tokens: readonly string[]
  readonly ids: readonly TokenId[]
}

/**
 * What the values' tokens were under each key that is being moved away from. Whoever stores a row stores these with it, so that
 * both tokens of a value have one join key in every snapshot.
 *
 * @param values n normalized values
 * @param to their tokens under the key that took over
 * @returns for each value its aliases; undefined where no key of the field is being moved away from
 */
export function makeAliases(
  keys: FieldKeys,
  field: Field,
  values: ByteColumn,
  to: FieldTokens,
): readonly (readonly TokenAlias[])[] | undefined {
  const moving = keys.movingTokenKeys(field.name).filter(({ version }) => version !== to.version)
  if (moving.length === 0) return undefined
  const columns = moving.map(({ version, tokenKey }) => {
    const { tokens, ids } = tokenKey.tokenize(values, field)
    return linkTokens(keys, field.name, { version, tokens, ids }, to)
  })
  return to.ids.map((_, index) => columns.map(column => column[index]!))
}

/** Aliases from n earlier tokens to those that take their place. */
export function linkTokens(keys: FieldKeys, field: string, from: FieldTokens, to: FieldTokens): readonly TokenAlias[] {
  const proofs = keys.aliasSealer(field, to.version)!.seal(packIds(from.ids), to.ids)
  return from.ids.map((tokenId, index) => ({
    tokenId,
    field,
    tokenKeyVersion: from.version,
    oldToken: from.tokens[index]!,
    newToken: to.tokens[index]!,
    successor: to.ids[index]!,
    proof: valueAt(proofs, index),
  }))
}

/** Whether the alias by which the original was found is one that a holder of the successor's token key made. */
export function isProven(keys: FieldKeys, sought: TokenId, original: SealedOriginal): boolean {
  const { field, tokenKeyVersion, tokenId, foundBy } = original
  if (foundBy === undefined) return false
  const sealer = keys.aliasSealer(field, tokenKeyVersion)
  if (sealer === undefined) return false
  const { plaintexts, authentic } = sealer.open(packBytes([foundBy.proof]), [tokenId])
  return authentic[0] === 1 && Buffer.from(sought, 'hex').equals(valueAt(plaintexts, 0))
}
