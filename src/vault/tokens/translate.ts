import type { ErrorCode } from '../../errors.ts'
import { type Receipt, signReceipt } from '../../tlog/receipt.ts'
import type { NoteSigner } from '../../tlog/signed-note.ts'
import type { OpenAction } from '../admission/open-action.ts'
import type { Principal } from '../admission/ports.ts'
import type { FieldSchema } from '../fields/fields.ts'
import type { FieldKeys } from '../keys/field-keys.ts'
import { decideCall, limitsOfCall } from '../policy/policy.ts'
import { countByField } from './count-by-field.ts'
import { findTokens } from './find-tokens.ts'
import type { OriginalReader } from './ports.ts'
import { readToken, type TokenItem } from './read-token.ts'

export interface TranslateRequest {
  readonly requestId: string
  readonly purpose: string
  readonly tokens: readonly TokenItem[]
  /** Under which the caller acts. */
  readonly ticket?: string | undefined
}

/**
 * `current`: whether `successor` is of the key that makes tokens now. A token that is current is its own successor; so is one of an
 * earlier key that has not been replaced yet.
 */
export type TranslatedItem =
  | { readonly token: string; readonly field: string; readonly successor: string; readonly current: boolean }
  | { readonly token: string; readonly field?: string; readonly error: { readonly code: ErrorCode } }

/**
 * Gives for each token of a rotated token key the one that stands in its place, in input order, and opens no value. Privileged and
 * charged as detokenize is, with a right of its own: it says which tokens of two columns are of one value.
 *
 * @throws TokenvaultError `purpose_missing`, `purpose_invalid`, `ticket_invalid`, `batch_empty`, `batch_too_large`,
 *   `role_not_permitted`, `purpose_not_permitted`, `ticket_required`, `batch_over_role_limit`, `budget_exceeded`,
 *   `principal_suspended`, `store_unavailable`, `audit_unavailable`
 */
export type Translate = (
  principal: Principal,
  request: TranslateRequest,
) => Promise<{ readonly items: readonly TranslatedItem[]; readonly receipt: Receipt }>

/** @param deps.successors finds the original of a token's successor where it has one, and its own otherwise */
export function createTranslate(deps: {
  readonly fields: FieldSchema
  readonly keys: FieldKeys
  readonly successors: OriginalReader
  /** Signs the receipts. */
  readonly signer: NoteSigner
  readonly openAction: OpenAction
}): Translate {
  const { fields, keys, successors, signer, openAction } = deps
  return async (principal, { requestId, purpose, ticket, tokens }) => {
    const call = { operation: 'translate', principal, requestId, purpose, ticket, requested: tokens.length } as const
    const { policy, record, refuse } = await openAction(call)
    const question = {
      roles: principal.roles,
      operation: 'translate',
      purpose,
      hasTicket: ticket !== undefined,
    } as const
    const { byField, refusal } = decideCall(policy, fields, question)
    const read = tokens.map(readToken)
    const distinct = new Map(read.map(token => [token.identity, token]))
    const asked = read.map(({ field }) => field)
    const noneGiven = { fields: countByField(byField, asked, []) }
    if (refusal !== undefined) return refuse(refusal, undefined, noneGiven)
    const permitted = [...new Set(asked)].flatMap(field => byField.get(field ?? '') ?? [])
    const isGranted = permitted.some(({ level }) => level !== 'none')
    const { batchLimit, perMinute, perDay } = limitsOfCall(policy, isGranted ? permitted : byField.values())
    if (tokens.length > batchLimit)
      return refuse('batch_over_role_limit', `at most ${batchLimit} items in one call`, noneGiven)

    const { groups, withheld } = await findTokens({ fields, keys, originals: successors }, byField, distinct)
    const found = new Map<string, Omit<Extract<TranslatedItem, { readonly successor: string }>, 'token'>>()
    for (const { field, tokenKey, members } of groups) {
      const ids = members.map(({ original }) => original.tokenId)
      const primary = keys.primaryVersion('token', field)
      for (const [index, successor] of tokenKey.tokensOfIds(ids, fields.get(field)!).entries()) {
        const { identity, original } = members[index]!
        found.set(identity, { field, successor, current: original.tokenKeyVersion === primary })
      }
    }
    const given = read.filter(({ identity }) => found.has(identity))
    const committed = await record({
      fields: countByField(
        byField,
        asked,
        given.map(({ field }) => field),
      ),
      grantedTokens: given.map(({ identity }) => identity),
      withheld: read.flatMap(({ identity }) => withheld.get(identity) ?? []),
      charge: { values: new Set([...found.values()].map(({ successor }) => successor)).size, perMinute, perDay },
    })
    const items = tokens.map((item, index): TranslatedItem => {
      const named = typeof item === 'string' ? { token: item } : item
      const answer = found.get(read[index]!.identity)
      return answer === undefined
        ? { ...named, error: { code: withheld.get(read[index]!.identity)! } }
        : { ...named, ...answer }
    })
    return { items, receipt: signReceipt(signer, committed) }
  }
}
