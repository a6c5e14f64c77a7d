import { packText, valueAt } from '../../crypto/byte-column.ts'
import type { Sealer } from '../../crypto/seal.ts'
import type { TokenKey } from '../../crypto/token.ts'
import { TokenvaultError } from '../../errors.ts'
import { acceptValue, type Field, type FieldSchema, type ValueRefused } from '../fields/fields.ts'
import type { FieldKeys } from '../keys/field-keys.ts'
import { makeAliases } from './aliases.ts'
import type { TokenizedValue } from './ports.ts'

/** The batch core: values in, tokens and sealed originals out. It decides nothing about who may ask. */
export interface Tokenizer {
  readonly fields: FieldSchema
  /**
   * Normalizes and tokenizes n values and seals their originals of one field, in input order.
   * @throws TokenvaultError `field_unknown`
   */
  tokenizeValues(field: string, values: readonly string[]): readonly (TokenizedValue | ValueRefused)[]
}

interface FieldState {
  readonly field: Field
  readonly tokenKeyVersion: number
  readonly dataKeyVersion: number
  readonly tokenKey: TokenKey
  readonly sealer: Sealer
}

/**
 * Keys are asked for at each call, because the primary ones change while a process runs.
 *
 * @throws TokenvaultError `keyset_incomplete` when a primary key is missing for a field
 */
export function createTokenizer(keys: FieldKeys, fields: FieldSchema): Tokenizer {
  // Missing, they are told at the start.
  for (const field of fields.values()) stateOf(keys, field)
  return {
    fields,
    tokenizeValues(fieldName, values) {
      const field = fields.get(fieldName)
      if (field === undefined) throw new TokenvaultError('field_unknown')
      return tokenizeValues(stateOf(keys, field), values, { keys, fields })
    },
  }
}

function stateOf(keys: FieldKeys, field: Field): FieldState {
  const tokenKeyVersion = keys.primaryVersion('token', field.name)
  const dataKeyVersion = keys.primaryVersion('data', field.name)
  const tokenKey = keys.tokenKey(field.name, tokenKeyVersion)!
  const sealer = keys.sealer('data', field.name, dataKeyVersion)!
  return { field, tokenKeyVersion, dataKeyVersion, tokenKey, sealer }
}

function tokenizeValues(
  state: FieldState,
  values: readonly string[],
  { keys, fields }: { readonly keys: FieldKeys; readonly fields: FieldSchema },
): (TokenizedValue | ValueRefused)[] {
  const results: (TokenizedValue | ValueRefused)[] = new Array(values.length)
  const accepted: string[] = []
  const places: number[] = []
  for (const [index, value] of values.entries()) {
    const normalized = acceptValue(state.field, value, fields)
    if (typeof normalized !== 'string') {
      results[index] = normalized
      continue
    }
    accepted.push(normalized)
    places.push(index)
  }
  const normalized = packText(accepted)
  const { tokens, ids, rests, ciphertexts } = state.tokenKey.tokenize(normalized, state.field)
  const aliases = makeAliases(keys, state.field, normalized, { version: state.tokenKeyVersion, tokens, ids })
  const sealed = state.sealer.seal(ciphertexts, ids)
  const { tokenKeyVersion, dataKeyVersion } = state
  for (const [order, index] of places.entries()) {
    results[index] = {
      token: tokens[order]!,
      original: {
        tokenId: ids[order]!,
        field: state.field.name,
        tokenKeyVersion,
        dataKeyVersion,
        sealed: valueAt(sealed, order),
        ...(rests === undefined ? {} : { sivRest: rests[order]! }),
        ...(aliases === undefined ? {} : { aliases: aliases[order]! }),
      },
    }
  }
  return results
}
