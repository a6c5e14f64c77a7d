import { randomUUID } from 'node:crypto'
import { packBytes, unpackText } from '../../crypto/byte-column.ts'
import type { ParsedToken } from '../../crypto/token.ts'
import type { ErrorCode } from '../../errors.ts'
import { type FieldSchema, revealPart } from '../fields/fields.ts'
import type { FieldKeys } from '../keys/field-keys.ts'
import type { RevealLevel } from '../policy/policy.ts'
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

  const groups = new Map<string, Member[]>()
  for (const [token, parsed] of sought) {
    const original = found.get(parsed.id)
    const code = checkFound(parsed, original, levels)
    if (code !== undefined) {
      answers.set(token, { code })
      continue
    }
    const { field, tokenKeyVersion, dataKeyVersion } = original!
    const group = `${field}/${tokenKeyVersion}/${dataKeyVersion}`
    const member = { token, id: parsed.id, original: original! }
    const members = groups.get(group)
    if (members === undefined) groups.set(group, [member])
    else members.push(member)
  }
  for (const members of groups.values()) openGroup(deps, levels, members, answers)
  return answers
}

interface Member {
  readonly token: string
  /** Of the token, never of the row: a row that stands in another's place must not open. */
  readonly id: TokenId
  readonly original: SealedOriginal
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

/** Opens originals of one field and key versions: the seal of the data key, then AES-SIV with the token as its SIV. */
function openGroup(
  { fields, keys }: { readonly fields: FieldSchema; readonly keys: FieldKeys },
  levels: ReadonlyMap<string, FieldLevel>,
  members: readonly Member[],
  answers: Map<string, Answer>,
): void {
  const { field, tokenKeyVersion, dataKeyVersion } = members[0]!.original
  const sealer = keys.sealer('data', field, dataKeyVersion)
  if (sealer === undefined) {
    for (const { token } of members) answers.set(token, { code: 'key_unavailable' })
    return
  }
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
