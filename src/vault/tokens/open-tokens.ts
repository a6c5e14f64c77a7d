import type { ErrorCode } from '../../errors.ts'
import { type FieldSchema, revealPart } from '../fields/fields.ts'
import type { FieldKeys } from '../keys/field-keys.ts'
import { type FieldLevel, type FoundGroup, type FoundTokens, findTokens } from './find-tokens.ts'
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
  return openFound(deps.fields, levels, await findTokens(deps, levels, tokens)).answers
}

/** What tokens that were looked up open to. */
export interface OpenedTokens {
  readonly answers: ReadonlyMap<string, Answer>
  /** Of each token that opened: the first one of the same value. After a rotation a value has several, also where it is revealed in part. */
  readonly firstOfValue: ReadonlyMap<string, string>
}

/** Opens what was found, and proves that each original belongs to its token. */
export function openFound(
  fields: FieldSchema,
  levels: ReadonlyMap<string, FieldLevel>,
  { groups, withheld }: FoundTokens,
): OpenedTokens {
  const answers = new Map<string, Answer>()
  const firstOfValue = new Map<string, string>()
  for (const [token, code] of withheld) answers.set(token, { code })
  for (const ofField of Map.groupBy(groups, ({ field }) => field).values()) {
    const byValue = new Map<string, string>()
    const onOpened = (identity: string, value: string) => {
      const first = byValue.get(value) ?? identity
      byValue.set(value, first)
      firstOfValue.set(identity, first)
    }
    for (const group of ofField) openGroup(fields, levels, group, { answers, onOpened })
  }
  return { answers, firstOfValue }
}

function openGroup(
  fields: FieldSchema,
  levels: ReadonlyMap<string, FieldLevel>,
  { field: name, tokenKey, sealer, members }: FoundGroup,
  to: { readonly answers: Map<string, Answer>; readonly onOpened: (identity: string, value: string) => void },
): void {
  const { answers, onOpened } = to
  const field = fields.get(name)!
  const inPart = levels.get(name)!.level === 'partial'
  for (const [index, opened] of openColumn(field, { sealer, tokenKey }, members).entries()) {
    const { identity } = members[index]!
    if ('value' in opened) onOpened(identity, opened.value)
    if ('code' in opened) answers.set(identity, opened)
    else if (inPart) answers.set(identity, { field: name, value: revealPart(field, opened.value), partial: true })
    else answers.set(identity, { field: name, value: opened.value })
  }
}
