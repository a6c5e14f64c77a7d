import { randomUUID } from 'node:crypto'
import type { Sealer } from '../../crypto/seal.ts'
import type { ParsedToken } from '../../crypto/token.ts'
import type { ErrorCode } from '../../errors.ts'
import type { FieldKeys } from '../keys/field-keys.ts'
import type { RevealLevel } from '../policy/policy.ts'
import type { OriginalReader, SealedOriginal, TokenId } from './ports.ts'

/** What the policy says about a field in this call. */
export interface FieldLevel {
  readonly level: RevealLevel
  readonly code?: ErrorCode
}

/** A token whose original is there. */
export interface FoundToken {
  readonly token: string
  /** Of the token, never of the row: a row that stands in another's place must not open. */
  readonly id: TokenId
  readonly original: SealedOriginal
}

/** Tokens of one field whose originals one pair of keys opens. */
export interface FoundGroup {
  readonly field: string
  readonly tokenKeyVersion: number
  readonly sealer: Sealer
  readonly members: readonly FoundToken[]
}

/** Every token of a call is either found, or withheld for the first check that it failed. */
export interface FoundTokens {
  readonly groups: readonly FoundGroup[]
  readonly withheld: ReadonlyMap<string, ErrorCode>
}

/**
 * Looks tokens up and opens none.
 *
 * The store is asked for as many ids as there are tokens, whatever becomes of them: a random one stands in for a token that is
 * refused from its text. How long the look-up takes therefore does not tell an unknown token from one that is not
 * permitted, or from a malformed one.
 *
 * @param tokens distinct tokens with what parseToken made of each
 * @param levels of every configured field
 * @throws TokenvaultError `store_unavailable`
 */
export async function findTokens(
  { keys, originals }: { readonly keys: FieldKeys; readonly originals: OriginalReader },
  levels: ReadonlyMap<string, FieldLevel>,
  tokens: ReadonlyMap<string, ParsedToken | undefined>,
): Promise<FoundTokens> {
  const withheld = new Map<string, ErrorCode>()
  const sought = new Map<string, ParsedToken>()
  const ids = new Set<TokenId>()
  for (const [token, parsed] of tokens) {
    const code = checkBeforeLookup(parsed, levels, keys)
    if (code !== undefined) withheld.set(token, code)
    else {
      sought.set(token, parsed!)
      ids.add(parsed!.id)
    }
  }
  for (const id of randomIds(tokens.size)) if (ids.size < tokens.size) ids.add(id)
  const found = await originals.findOriginals([...ids])

  const groups = new Map<string, FoundGroup & { members: FoundToken[] }>()
  for (const [token, parsed] of sought) {
    const original = found.get(parsed.id)
    const code = checkFound(parsed, original, levels)
    if (code !== undefined) {
      withheld.set(token, code)
      continue
    }
    const { field, tokenKeyVersion, dataKeyVersion } = original!
    const name = `${field}/${tokenKeyVersion}/${dataKeyVersion}`
    const member = { token, id: parsed.id, original: original! }
    const group = groups.get(name)
    if (group !== undefined) group.members.push(member)
    else {
      const sealer = keys.sealer('data', field, dataKeyVersion)
      if (sealer === undefined) withheld.set(token, 'key_unavailable')
      else groups.set(name, { field, tokenKeyVersion, sealer, members: [member] })
    }
  }
  return { groups: [...groups.values()], withheld }
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
