import type { ErrorCode } from '../../errors.ts'
import { type FieldSchema, revealPart } from '../fields/fields.ts'
import type { FieldKeys } from '../keys/field-keys.ts'
import { type FieldLevel, type FoundGroup, findTokens } from './find-tokens.ts'
import { openColumn } from './open-originals.ts'
import type { OriginalReader } from './ports.ts'
import type { ReadToken } from './read-token.ts'

/** A token's way through the checks: what is revealed of its value, or the first code that it fell to. */
export type Answer =
  | { readonly field: string; readonly value: string; readonly partial?: true }
  | { readonly code: ErrorCode }

/**
 * Looks tokens up, opens their originals and proves that each belongs to its token.
 *
 * @param tokens distinct tokens by identity
 * @param levels of every configured field
 * @throws TokenvaultError `store_unavailable`
 */
export async function openTokens(
  deps: { readonly fields: FieldSchema; readonly keys: FieldKeys; readonly originals: OriginalReader },
  levels: ReadonlyMap<string, FieldLevel>,
  tokens: ReadonlyMap<string, ReadToken>,
): Promise<ReadonlyMap<string, Answer>> {
  const { groups, withheld } = await findTokens(deps, levels, tokens)
  const answers = new Map<string, Answer>()
  for (const [token, code] of withheld) answers.set(token, { code })
  for (const group of groups) openGroup(deps.fields, levels, group, answers)
  return answers
}

function openGroup(
  fields: FieldSchema,
  levels: ReadonlyMap<string, FieldLevel>,
  { field: name, tokenKey, sealer, members }: FoundGroup,
  answers: Map<string, Answer>,
): void {
  const field = fields.get(name)!
  const inPart = levels.get(name)!.level === 'partial'
  for (const [index, opened] of openColumn(field, { sealer, tokenKey }, members).entries()) {
    const { identity } = members[index]!
    if ('code' in opened) answers.set(identity, opened)
    else if (inPart) answers.set(identity, { field: name, value: revealPart(field, opened.value), partial: true })
    else answers.set(identity, { field: name, value: opened.value })
  }
}
