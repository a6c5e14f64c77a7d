import { packBytes, packText, unpackText } from '../crypto/byte-column.ts'
import { type ParsedToken, parseToken } from '../crypto/token.ts'
import { type ErrorCode, TokenvaultError } from '../errors.ts'
import type { RecordAct } from './audit.ts'
import type { FieldKeys } from './field-keys.ts'
import type { FieldSchema } from './fields.ts'
import { checkBatchSize, checkPurpose, type Permit, permittedFields } from './policy.ts'
import type { OriginalReader, Principal, SealedOriginal } from './ports.ts'

export interface DetokenizeRequest {
  readonly requestId: string
  readonly purpose: string
  readonly tokens: readonly string[]
  /** All or nothing. */
  readonly atomic: boolean
}

export type DetokenizedItem =
  | { readonly token: string; readonly field: string; readonly value: string }
  | { readonly token: string; readonly error: { readonly code: ErrorCode } }

/** `refused`: the call was atomic and an item failed, so only the failures are told. */
export type DetokenizeResult =
  | { readonly outcome: 'complete'; readonly items: readonly DetokenizedItem[] }
  | { readonly outcome: 'refused'; readonly failures: readonly { readonly index: number; readonly code: ErrorCode }[] }

/**
 * Gives originals back, one answer an item, in input order. Authorization, look-up, authentication of what was found
 * and the audit event are one act: no caller can have the value without the others.
 *
 * @throws TokenvaultError `purpose_missing`, `purpose_invalid`, `batch_empty`, `batch_too_large`,
 *   `role_not_permitted`, `store_unavailable`, `audit_unavailable`
 */
export type Detokenize = (principal: Principal, request: DetokenizeRequest) => Promise<DetokenizeResult>

export interface DetokenizeDependencies {
  readonly fields: FieldSchema
  readonly keys: FieldKeys
  readonly originals: OriginalReader
  readonly recordAct: RecordAct
  /** The policy; that of this version when absent. */
  readonly permit?: Permit
}

/** A token's way through the checks: its value, or the first code that it fell to. */
type Answer = { readonly field: string; readonly value: string } | { readonly code: ErrorCode }

/** @returns the verb; the reader and the audit log stand behind the ports of `deps` */
export function createDetokenize(deps: DetokenizeDependencies): Detokenize {
  const { permit = permittedFields } = deps
  return async (principal, { requestId, purpose, tokens, atomic }) => {
    checkPurpose(purpose)
    checkBatchSize(tokens.length)
    const permitted = permit(principal.roles, 'detokenize', deps.fields)
    const act = { operation: 'detokenize', principal, requestId, purpose, requested: tokens.length } as const
    if (permitted.size === 0) {
      await deps.recordAct({ ...act, grantedTokens: [], withheld: [], refusal: 'role_not_permitted' })
      throw new TokenvaultError('role_not_permitted')
    }

    const answers = await answerTokens(deps, permitted, [...new Set(tokens)])
    const failures = tokens.flatMap((token, index) => {
      const answer = answers.get(token)!
      return 'code' in answer ? [{ index, code: answer.code }] : []
    })
    const withheld = failures.map(({ code }) => code)
    if (atomic && failures.length > 0) {
      await deps.recordAct({ ...act, grantedTokens: [], withheld, refusal: 'batch_refused' })
      return { outcome: 'refused', failures }
    }
    const grantedTokens = tokens.filter(token => 'value' in answers.get(token)!)
    await deps.recordAct({ ...act, grantedTokens, withheld })
    const items = tokens.map((token): DetokenizedItem => {
      const answer = answers.get(token)!
      return 'code' in answer ? { token, error: answer } : { token, ...answer }
    })
    return { outcome: 'complete', items }
  }
}

async function answerTokens(
  { fields, keys, originals }: DetokenizeDependencies,
  permitted: ReadonlySet<string>,
  tokens: readonly string[],
): Promise<ReadonlyMap<string, Answer>> {
  const answers = new Map<string, Answer>()
  const sought = new Map<string, ParsedToken>()
  for (const token of tokens) {
    const parsed = parseToken(token)
    const code = checkBeforeLookup(parsed, fields, permitted, keys)
    if (code !== undefined) answers.set(token, { code })
    else sought.set(token, parsed!)
  }

  const found = await originals.findOriginals([...new Set([...sought.values()].map(({ id }) => id))])
  const groups = new Map<string, { token: string; original: SealedOriginal }[]>()
  for (const [token, parsed] of sought) {
    const original = found.get(parsed.id)
    const code = checkFound(parsed, original, permitted)
    if (code !== undefined) {
      answers.set(token, { code })
      continue
    }
    const { field, tokenKeyVersion, dataKeyVersion } = original!
    const group = `${field}/${tokenKeyVersion}/${dataKeyVersion}`
    const members = groups.get(group)
    if (members === undefined) groups.set(group, [{ token, original: original! }])
    else members.push({ token, original: original! })
  }
  for (const members of groups.values()) openGroup(keys, members, answers)
  return answers
}

/** What a token's text alone decides; nothing here depends on whether the vault holds it. */
function checkBeforeLookup(
  parsed: ParsedToken | undefined,
  fields: FieldSchema,
  permitted: ReadonlySet<string>,
  keys: FieldKeys,
): ErrorCode | undefined {
  if (parsed === undefined) return 'token_malformed'
  if (!fields.has(parsed.field)) return 'field_unknown'
  if (!permitted.has(parsed.field)) return 'field_not_permitted'
  return keys.mint(parsed.field, parsed.keyVersion) === undefined ? 'key_unavailable' : undefined
}

function checkFound(
  parsed: ParsedToken,
  original: SealedOriginal | undefined,
  permitted: ReadonlySet<string>,
): ErrorCode | undefined {
  if (original === undefined) return 'token_unknown'
  if (original.field !== parsed.field) {
    // Said only to those who may know that a token of the other field exists.
    return permitted.has(original.field) ? 'token_field_mismatch' : 'token_unknown'
  }
  return original.tokenKeyVersion === parsed.keyVersion ? undefined : 'token_not_authentic'
}

/** Opens originals of one field and key versions, and proves each by minting its token again. */
function openGroup(
  keys: FieldKeys,
  members: readonly { readonly token: string; readonly original: SealedOriginal }[],
  answers: Map<string, Answer>,
): void {
  const { field, tokenKeyVersion, dataKeyVersion } = members[0]!.original
  const sealer = keys.sealer('data', field, dataKeyVersion)
  if (sealer === undefined) {
    for (const { token } of members) answers.set(token, { code: 'key_unavailable' })
    return
  }
  const ids = members.map(({ original }) => original.tokenId)
  const { plaintexts, authentic } = sealer.open(packBytes(members.map(({ original }) => original.sealed)), ids)
  const values = unpackText(plaintexts)
  const minted = keys.mint(field, tokenKeyVersion)!.mint(packText(values))
  for (const [index, { token }] of members.entries()) {
    if (authentic[index] === 0 || minted.ids[index] !== ids[index])
      answers.set(token, { code: 'original_not_authentic' })
    else if (minted.tokens[index] !== token) answers.set(token, { code: 'token_not_authentic' })
    else answers.set(token, { field, value: values[index]! })
  }
}
