import { randomUUID } from 'node:crypto'
import type { Sealer } from '../../crypto/seal.ts'
import type { TokenKey } from '../../crypto/token.ts'
import type { ErrorCode } from '../../errors.ts'
import type { FieldSchema } from '../fields/fields.ts'
import type { FieldKeys } from '../keys/field-keys.ts'
import type { RevealLevel } from '../policy/policy.ts'
import { isProven } from './aliases.ts'
import type { Unopened } from './open-originals.ts'
import type { OriginalReader, SealedOriginal, TokenId } from './ports.ts'
import { findFormatProblem, type ReadToken, type SoughtToken } from './read-token.ts'

/** What the policy says about a field in this call. */
export interface FieldLevel {
  readonly level: RevealLevel
  readonly code?: ErrorCode
}

/** A token whose original is there. */
export interface FoundToken extends Unopened {
  readonly identity: string
}

/** Tokens of one field whose originals one pair of keys opens: keys that were in use once the originals had been read. */
export interface FoundGroup {
  readonly field: string
  readonly tokenKey: TokenKey
  readonly sealer: Sealer
  readonly members: readonly FoundToken[]
}

/** Every token of a call is either found, or withheld, by identity, for the first check that it failed. */
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
 * @param tokens distinct tokens by identity
 * @param levels of every configured field
 * @throws TokenvaultError `store_unavailable`
 */
export async function findTokens(
  deps: { readonly fields: FieldSchema; readonly keys: FieldKeys; readonly originals: OriginalReader },
  levels: ReadonlyMap<string, FieldLevel>,
  tokens: ReadonlyMap<string, ReadToken>,
): Promise<FoundTokens> {
  const { keys, originals } = deps
  const withheld = new Map<string, ErrorCode>()
  const sought: SoughtToken[] = []
  const ids = new Set<TokenId>()
  for (const [identity, token] of tokens) {
    const code = checkBeforeLookup(token, levels, deps.fields)
    if (code !== undefined) withheld.set(identity, code)
    else if ('id' in token) {
      sought.push(token)
      ids.add(token.id)
    }
  }
  for (const id of randomIds(tokens.size)) if (ids.size < tokens.size) ids.add(id)
  const found = await originals.findOriginals([...ids])
  // Afterwards: who finds no alias any more is then told why. Only the texts of the tokens decide whether it is asked.
  const isEarlier = (token: ReadToken) => 'id' in token && levels.has(token.field) && isOfEarlierKey(token, keys)
  const retired = [...tokens.values()].some(isEarlier) ? await originals.readRetired() : undefined

  const groups = new Map<string, FoundGroup & { members: FoundToken[] }>()
  for (const token of sought) {
    const { identity, id } = token
    const original = found.get(id)
    const isRetired = retired?.has(`${token.field}/${token.keyVersion}`)
    const code = isRetired ? 'token_retired' : checkFound(token, original, { levels, keys })
    if (code !== undefined) {
      withheld.set(identity, code)
      continue
    }
    const { field, tokenKeyVersion, dataKeyVersion } = original!
    const name = `${field}/${tokenKeyVersion}/${dataKeyVersion}`
    // Of an earlier token the successor's original is opened, as that of its own token.
    const member = { identity, id: original!.foundBy === undefined ? id : original!.tokenId, original: original! }
    const group = groups.get(name)
    if (group !== undefined) group.members.push(member)
    else {
      const sealer = keys.sealer('data', field, dataKeyVersion)
      // Asked again, of a text token too: it may have been disabled during the look-up.
      const tokenKey = keys.tokenKey(field, tokenKeyVersion)
      if (sealer === undefined || tokenKey === undefined) withheld.set(identity, 'key_unavailable')
      else groups.set(name, { field, tokenKey, sealer, members: [member] })
    }
  }
  return { groups: [...groups.values()], withheld }
}

function isOfEarlierKey({ field, keyVersion }: SoughtToken, keys: FieldKeys): boolean {
  return keyVersion !== undefined && !keys.isPrimary('token', field, keyVersion)
}

/** Made for every token, needed or not, so that making them costs every call the same. */
function randomIds(count: number): TokenId[] {
  return Array.from({ length: count }, () => randomUUID().replaceAll('-', ''))
}

/** What a token's text alone decides; nothing here depends on whether the vault holds it. */
function checkBeforeLookup(
  token: ReadToken,
  levels: ReadonlyMap<string, FieldLevel>,
  fields: FieldSchema,
): ErrorCode | undefined {
  if ('code' in token) return token.code
  const { field, format } = token
  const decided = levels.get(field)
  // A text token says itself that it is of another vault.
  if (decided === undefined) return format === 'text' ? 'field_unknown' : 'token_unknown'
  if (decided.level === 'none') return decided.code ?? 'field_not_permitted'
  return findFormatProblem(token, fields.get(field)!)
}

function checkFound(
  { field, id, keyVersion }: SoughtToken,
  original: SealedOriginal | undefined,
  { levels, keys }: { readonly levels: ReadonlyMap<string, FieldLevel>; readonly keys: FieldKeys },
): ErrorCode | undefined {
  // The token of a key that is gone still opens by its alias, so that this is said only where there is none.
  const isKeyMissing = keyVersion !== undefined && keys.tokenKey(field, keyVersion) === undefined
  const foundBy = original?.foundBy
  if (isKeyMissing && foundBy === undefined) return 'key_unavailable'
  if (original === undefined) return 'token_unknown'
  if (original.field !== field) {
    // Said only to those who may know that a token of the other field exists.
    return (levels.get(original.field)?.level ?? 'none') === 'none' ? 'token_unknown' : 'token_field_mismatch'
  }
  // A typed token names no version; AES-SIV proves that the row's is the right one.
  const madeBy = foundBy?.tokenKeyVersion ?? original.tokenKeyVersion
  if (keyVersion !== undefined && madeBy !== keyVersion) return 'token_not_authentic'
  if (foundBy === undefined) return undefined
  if (keys.aliasSealer(field, original.tokenKeyVersion) === undefined) return 'key_unavailable'
  return isProven(keys, id, original) ? undefined : 'token_not_authentic'
}
