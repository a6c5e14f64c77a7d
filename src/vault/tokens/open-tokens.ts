import { randomUUID } from 'node:crypto'
import type { ParsedToken } from '../../crypto/token.ts'
import type { ErrorCode } from '../../errors.ts'
import { type FieldSchema, revealPart } from '../fields/fields.ts'
import type { FieldKeys } from '../keys/field-keys.ts'
import type { RevealLevel } from '../policy/policy.ts'
import { openOriginals, type Unopened } from './open-originals.ts'
import type { OriginalReader, SealedOriginal, TokenId } from './ports.ts'

/** A token's way through the checks: what is revealed of its value, or the first code that it fell to. */
export type Answer =
  | { readonly field: string; readonly value: string; readonly partial?: true }
  | { readonly code: ErrorCode }

/** What the policy says about a field in this call. */
export interface FieldLevel {
  readonly level: RevealLevel
  readonly code?: ErrorCode
}

/**
 * Looks tokens up, opens their originals and proves that each belongs to its token.
 *
 * The store is asked for as many ids as there are tokens, whatever becomes of them: a random one stands in for a token that is
 * refused from its text. How long the look-up takes therefore does not tell an unknown token from one that is not
 * permitted, or from a malformed one.
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
  const answers = new Map<string, Answer>()
  const sought = new Map<string, ParsedToken>()
  const ids = new Set<TokenId>()
  for (const [token, parsed] of tokens) {
    const code = checkBeforeLookup(parsed, levels, deps.keys)
    if (code !== undefined) answers.set(token, { code })
    else {
      sought.set(token, parsed!)
      ids.add(parsed!.id)
    }
  }
  for (const id of randomIds(tokens.size)) if (ids.size < tokens.size) ids.add(id)
  const found = await deps.originals.findOriginals([...ids])

  const unopened: (Unopened & { readonly token: string })[] = []
  for (const [token, parsed] of sought) {
    const original = found.get(parsed.id)
    const code = checkFound(parsed, original, levels)
    if (code === undefined) unopened.push({ token, id: parsed.id, original: original! })
    else answers.set(token, { code })
  }
  for (const [index, opened] of openOriginals(deps.keys, unopened).entries()) {
    const { token, original } = unopened[index]!
    answers.set(token, 'code' in opened ? opened : reveal(deps.fields, levels, original.field, opened.value))
  }
  return answers
}

function reveal(fields: FieldSchema, levels: ReadonlyMap<string, FieldLevel>, field: string, value: string): Answer {
  if (levels.get(field)!.level !== 'partial') return { field, value }
  return { field, value: revealPart(fields.get(field)!, value), partial: true }
}

/** Made for every token, needed or not, so that making them costs every call the same. */
function randomIds(count: number): TokenId[] {
  return Array.from({ length: count }, () => randomUUID().replaceAll('-', ''))
}

/** What a token's text alone decides; nothing here depends on whether the vault holds it. */
function checkBeforeLookup(
  parsed: ParsedToken | undefined,
  levels: ReadonlyMap<string, FieldLevel>,
  keys: FieldKeys,
): ErrorCode | undefined {
  if (parsed === undefined) return 'token_malformed'
  const decided = levels.get(parsed.field)
  if (decided === undefined) return 'field_unknown'
  if (decided.level === 'none') return decided.code ?? 'field_not_permitted'
  return keys.tokenKey(parsed.field, parsed.keyVersion) === undefined ? 'key_unavailable' : undefined
}

function checkFound(
  parsed: ParsedToken,
  original: SealedOriginal | undefined,
  levels: ReadonlyMap<string, FieldLevel>,
): ErrorCode | undefined {
  if (original === undefined) return 'token_unknown'
  if (original.field !== parsed.field) {
    // Said only to those who may know that a token of the other field exists.
    return (levels.get(original.field)?.level ?? 'none') === 'none' ? 'token_unknown' : 'token_field_mismatch'
  }
  return original.tokenKeyVersion === parsed.keyVersion ? undefined : 'token_not_authentic'
}
