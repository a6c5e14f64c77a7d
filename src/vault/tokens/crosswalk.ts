import { nameToken } from '../../crypto/typed-token.ts'
import { createValueHash, type HashScheme } from '../../crypto/value-hash.ts'
import { type ErrorCode, TokenvaultError } from '../../errors.ts'
import type { Receipt } from '../../tlog/receipt.ts'
import { type AnySigner, signReceiptOf } from '../admission/log-signer.ts'
import { maxBatchItems, type OpenAction } from '../admission/open-action.ts'
import type { FieldCounts, Principal } from '../admission/ports.ts'
import { type Field, type FieldSchema, normalizeValue } from '../fields/fields.ts'
import type { FieldKeys } from '../keys/field-keys.ts'
import { decideCall, limitsOfCall } from '../policy/policy.ts'
import { tally } from './count-by-field.ts'
import { type Opened, openOriginals } from './open-originals.ts'
import type { FieldOriginals, SealedOriginal, TokenId } from './ports.ts'

export { type HashScheme, hashSchemes } from '../../crypto/value-hash.ts'

export interface CrosswalkRequest {
  readonly requestId: string
  readonly purpose: string
  readonly field: string
  readonly scheme: HashScheme
  /**
   * What is hashed: the value as the rule of its field has it today, or exactly the text that the vault holds, which is the
   * value as the rule had it when it was stored. `field` unless set.
   */
  readonly normalize?: 'field' | 'none' | undefined
  /** Under which the caller acts. */
  readonly ticket?: string | undefined
  /** `next` of the page before. */
  readonly before?: TokenId | undefined
  /** Originals of this page; as many as one call of the caller's roles may have, unless set. */
  readonly limit?: number | undefined
}

/** A token, and the hash of its value in lower-case hexadecimal digits. */
export interface HashedToken {
  readonly hash: string
  readonly token: string
}

export interface CrosswalkPage {
  /** In no order that says anything. A value has a pair for each version of its field's token key that made a token of it. */
  readonly pairs: readonly HashedToken[]
  /** Originals of the page that gave no pair, by code; empty where all did. */
  readonly withheld: readonly { readonly code: ErrorCode; readonly items: number }[]
  /** `before` of the next page; absent on the last one. */
  readonly next?: TokenId
  readonly receipt: Receipt
}

/**
 * Gives every token of a field beside a hash of its value, page by page, so that whoever has a column of hashes can put tokens
 * in its place without anybody's seeing a value. Privileged as detokenize is, with a right of its own, and charged with a value a
 * pair: who has hashes of all addresses has all addresses, since they can be tried. There is no list that a second person
 * could decide about, so what needs an approval is refused.
 *
 * @throws TokenvaultError `purpose_missing`, `purpose_invalid`, `ticket_invalid`, `batch_empty`, `batch_too_large`,
 *   `role_not_permitted`, `field_not_permitted`, `purpose_not_permitted`, `ticket_required`, `approval_required`,
 *   `request_invalid` for a field that is not configured, `batch_over_role_limit`, `budget_exceeded`, `principal_suspended`,
 *   `store_unavailable`, `audit_unavailable`
 */
export type Crosswalk = (principal: Principal, request: CrosswalkRequest) => Promise<CrosswalkPage>

/** @returns the verb; the originals stand behind their port */
export function createCrosswalk(deps: {
  readonly fields: FieldSchema
  readonly keys: FieldKeys
  readonly originals: FieldOriginals
  /** Signs the receipts. */
  readonly signer: AnySigner
  readonly openAction: OpenAction
}): Crosswalk {
  const { fields, keys, originals, signer, openAction } = deps
  return async (principal, request) => {
    const { requestId, purpose, ticket, scheme, normalize = 'field', before, limit } = request
    const requested = limit ?? maxBatchItems
    const call = { operation: 'crosswalk', principal, requestId, purpose, ticket, requested } as const
    const { policy, record, refuse } = await openAction({ ...call, scheme: scheme.name })
    const question = { roles: principal.roles, purpose, hasTicket: ticket !== undefined }
    const { byField, refusal } = decideCall(policy, fields, { ...question, operation: 'crosswalk' })
    const field = fields.get(request.field)
    const decision = byField.get(request.field)
    if (field === undefined || decision === undefined) {
      if (refusal !== undefined) return refuse(refusal)
      throw new TokenvaultError('request_invalid', 'field is not one that this vault tokenizes')
    }
    const counts = (requested: number, granted: number): ReadonlyMap<string, FieldCounts> =>
      new Map([[field.name, { requested, granted, level: decision.level }]])
    const noneGiven = { fields: counts(requested, 0) }
    if (decision.code !== undefined) return refuse(refusal ?? decision.code, undefined, noneGiven)
    const { batchLimit, perMinute, perDay, withoutApproval: allowances } = limitsOfCall(policy, [decision])
    if (limit !== undefined && limit > batchLimit)
      return refuse('batch_over_role_limit', `at most ${batchLimit} items in one call`, noneGiven)

    const pageSize = Math.min(requested, batchLimit)
    const page = await originals.listOriginals(field.name, { before, limit: pageSize })
    const { pairs, codes } = hashOriginals(keys, field, page, hashOf(field, fields, scheme, normalize))
    const committed = await record({
      requested: page.length,
      fields: counts(page.length, pairs.length),
      grantedTokens: pairs.map(({ token }) => nameToken(field, token)),
      withheld: codes,
      charge: { values: pairs.length, perMinute, perDay, withoutApproval: { asked: page.length, allowances } },
    })
    const next = page.length < pageSize ? {} : { next: page.at(-1)!.tokenId }
    const withheld = [...tally(codes)].map(([code, items]) => ({ code, items }))
    return { pairs, withheld, ...next, receipt: await signReceiptOf(signer, committed) }
  }
}

/** What becomes of a value: its hash, or why the rule of its field does not take it. */
type HashOf = (value: string) => { readonly hash: string } | { readonly code: ErrorCode }

function hashOf(field: Field, fields: FieldSchema, scheme: HashScheme, normalize: 'field' | 'none'): HashOf {
  const hash = createValueHash(scheme)
  if (normalize === 'none') return value => ({ hash: hash(value) })
  return value => {
    const normalized = normalizeValue(field, value, fields)
    return typeof normalized === 'string' ? { hash: hash(normalized) } : normalized
  }
}

/** @returns the pairs in the order of the page, and the code of each original that gives none */
function hashOriginals(
  keys: FieldKeys,
  field: Field,
  page: readonly SealedOriginal[],
  hashValue: HashOf,
): { readonly pairs: readonly HashedToken[]; readonly codes: readonly ErrorCode[] } {
  const opened = openOriginals(
    keys,
    field,
    page.map(original => ({ id: original.tokenId, original })),
  )
  const tokens = spellTokens(keys, field, page)
  const pairs: HashedToken[] = []
  const codes: ErrorCode[] = []
  for (const [index, value] of opened.entries()) {
    const hashed = hashOpened(value, hashValue)
    if ('code' in hashed) codes.push(hashed.code)
    else pairs.push({ hash: hashed.hash, token: tokens[index]! })
  }
  return { pairs, codes }
}

function hashOpened(opened: Opened, hashValue: HashOf): ReturnType<HashOf> {
  return 'code' in opened ? opened : hashValue(opened.value)
}

/** In the order of the page; '' where the key is not held, which opens nothing either. */
function spellTokens(keys: FieldKeys, field: Field, page: readonly SealedOriginal[]): readonly string[] {
  const tokens = new Array<string>(page.length).fill('')
  const byVersion = Map.groupBy(page.keys(), index => page[index]!.tokenKeyVersion)
  for (const [version, places] of byVersion) {
    const spelled =
      keys.tokenKey(field.name, version)?.tokensOfIds(
        places.map(place => page[place]!.tokenId),
        field,
      ) ?? []
    for (const [order, token] of spelled.entries()) tokens[places[order]!] = token
  }
  return tokens
}
