import type { ParsedToken } from '../../crypto/token.ts'
import type { ErrorCode } from '../../errors.ts'
import { type FieldSchema, revealPart } from '../fields/fields.ts'
import type { FieldKeys } from '../keys/field-keys.ts'
import { type FieldLevel, type FoundGroup, findTokens } from './find-tokens.ts'
import { openColumn } from './open-originals.ts'
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

function openGroup(
  { fields, keys }: { readonly fields: FieldSchema; readonly keys: FieldKeys },
  levels: ReadonlyMap<string, FieldLevel>,
  { field, tokenKeyVersion, sealer, members }: FoundGroup,
  answers: Map<string, Answer>,
): void {
  const schema = fields.get(field)!
  const inPart = levels.get(field)!.level === 'partial'
  const tokenKey = keys.tokenKey(field, tokenKeyVersion)!
  for (const [index, opened] of openColumn(schema, { sealer, tokenKey }, members).entries()) {
    const { token } = members[index]!
    if ('code' in opened) answers.set(token, opened)
    else if (inPart) answers.set(token, { field, value: revealPart(schema, opened.value), partial: true })
    else answers.set(token, { field, value: opened.value })
  }
}
