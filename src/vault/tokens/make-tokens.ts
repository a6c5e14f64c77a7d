import { packText } from '../../crypto/byte-column.ts'
import type { ErrorCode } from '../../errors.ts'
import { acceptValue, type FieldSchema } from '../fields/fields.ts'
import type { FieldKeys } from '../keys/field-keys.ts'
import type { Decision } from '../policy/policy.ts'
import type { SealedOriginal } from './ports.ts'
import type { Tokenizer } from './tokenizer.ts'

/** The answer for one value, in input order; the value itself is never repeated. */
export type TokenizedItem =
  | { readonly field: string; readonly token: string; readonly others?: readonly OtherToken[] }
  | { readonly field: string; readonly error: { readonly code: ErrorCode } }

/** The token of a value under a version of its field's token key that is not the primary one, and still in use. */
export interface OtherToken {
  readonly token: string
  readonly keyVersion: number
}

/** One value of one field. */
export interface FieldValue {
  readonly field: string
  readonly value: string
}

/** A token, and those of the same value under other versions. */
interface Made {
  readonly token: string
  readonly others: readonly OtherToken[]
}

/** Makes the answers for places of one field. */
type MakeField = (field: string, values: readonly string[]) => readonly (string | Made | { readonly code: ErrorCode })[]

/** Tokens of values, as ingestion makes them. One answer a value, in input order. */
export function lookUpTokens(
  { fields, keys }: { readonly fields: FieldSchema; readonly keys: FieldKeys },
  byField: ReadonlyMap<string, Decision>,
  values: readonly FieldValue[],
): TokenizedItem[] {
  return answerByField(byField, values, (name, texts) => {
    const field = fields.get(name)!
    const accepted = texts.map(text => acceptValue(field, text, fields))
    const tokenKey = keys.tokenKey(name, keys.primaryVersion('token', name))!
    const normalized = packText(accepted.filter(found => typeof found === 'string'))
    const tokens = tokenKey.tokensOf(normalized, field)
    const columns = keys.otherTokenKeys(name).map(({ version, tokenKey }) => {
      return { keyVersion: version, tokens: tokenKey.tokensOf(normalized, field) }
    })
    const made = tokens.map((token, place) => {
      const others = columns.map(({ keyVersion, tokens }) => ({ token: tokens[place]!, keyVersion }))
      return others.length === 0 ? token : { token, others }
    })
    let next = 0
    return accepted.map(found => (typeof found === 'string' ? made[next++]! : found))
  })
}

/** The same tokens, and the sealed originals of each. Equal values have equal originals, which one row holds. */
export function sealTokens(
  tokenizer: Tokenizer,
  byField: ReadonlyMap<string, Decision>,
  values: readonly FieldValue[],
): { readonly items: readonly TokenizedItem[]; readonly originals: readonly SealedOriginal[] } {
  const originals: SealedOriginal[] = []
  const items = answerByField(byField, values, (field, texts) =>
    tokenizer.tokenizeValues(field, texts).map(made => {
      if ('code' in made) return made
      originals.push(made.original)
      return made.token
    }),
  )
  return { items, originals }
}

/** Values of one field are worked on together, since the cryptography of a batch costs little more than that of a value. */
function answerByField(
  byField: ReadonlyMap<string, Decision>,
  values: readonly FieldValue[],
  make: MakeField,
): TokenizedItem[] {
  const items = new Array<TokenizedItem>(values.length)
  const places = new Map<string, number[]>()
  for (const [index, { field }] of values.entries()) {
    const decision = byField.get(field)
    const code = decision === undefined ? 'field_unknown' : decision.code
    if (code !== undefined) {
      items[index] = { field, error: { code } }
      continue
    }
    const found = places.get(field)
    if (found === undefined) places.set(field, [index])
    else found.push(index)
  }
  for (const [field, indices] of places) {
    const made = make(
      field,
      indices.map(index => values[index]!.value),
    )
    for (const [order, index] of indices.entries()) {
      const answer = made[order]!
      if (typeof answer === 'string') items[index] = { field, token: answer }
      else items[index] = 'code' in answer ? { field, error: { code: answer.code } } : { field, ...answer }
    }
  }
  return items
}
