import { packBytes, unpackText } from '../../crypto/byte-column.ts'
import type { ParsedToken } from '../../crypto/token.ts'
import type { ErrorCode } from '../../errors.ts'
import { type FieldSchema, revealPart } from '../fields/fields.ts'
import type { FieldKeys } from '../keys/field-keys.ts'
import { type FieldLevel, type FoundGroup, findTokens } from './find-tokens.ts'
import type { OriginalReader } from './ports.ts'

/** A token's way through the checks: what is revealed of its value, or the first code that it fell to. */
export type Answer =
  | { readonly field: string; readonly value: string; readonly partial?: true }
  | { readonly code: ErrorCode }

/**
 * Looks tokens up, opens their originals and proves that each belongs to its token.
 *
 * @param tokens distinct tokens with what parseToken made of each
 * @param levels of every configured field
 * @throws TokenvaultError `store_unavailable`
 */
export async function openTokens(
  deps: { readonly fields: FieldSchema; readonly keys: FieldKeys; readonly originals: OriginalReader },
  levels: ReadonlyMap<string, FieldLevel>,
  tokens: ReadonlyMap<string, ParsedToken | undefined>,
): Promise<ReadonlyMap<string, Answer>> {
  const { groups, withheld } = await findTokens(deps, levels, tokens)
  const answers = new Map<string, Answer>()
  for (const [token, code] of withheld) answers.set(token, { code })
  for (const group of groups) openGroup(deps, levels, group, answers)
  return answers
}

/** Opens originals of one field and key versions: the seal of the data key, then AES-SIV with the token as its SIV. */
function openGroup(
  { fields, keys }: { readonly fields: FieldSchema; readonly keys: FieldKeys },
  levels: ReadonlyMap<string, FieldLevel>,
  { field, tokenKeyVersion, sealer, members }: FoundGroup,
  answers: Map<string, Answer>,
): void {
  const ids = members.map(({ id }) => id)
  const ciphertexts = sealer.open(packBytes(members.map(({ original }) => original.sealed)), ids)
  const opened = keys.tokenKey(field, tokenKeyVersion)!.open(ids, ciphertexts.plaintexts)
  const values = unpackText(opened.plaintexts)
  const schema = fields.get(field)!
  const inPart = levels.get(field)!.level === 'partial'
  for (const [index, { token }] of members.entries()) {
    if (ciphertexts.authentic[index] === 0 || opened.authentic[index] === 0)
      answers.set(token, { code: 'original_not_authentic' })
    else if (inPart) answers.set(token, { field, value: revealPart(schema, values[index]!), partial: true })
    else answers.set(token, { field, value: values[index]! })
  }
}
