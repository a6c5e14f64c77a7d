import { packText } from '../../crypto/byte-column.ts'
import type { ErrorCode } from '../../errors.ts'
import type { OpenAction } from '../admission/open-action.ts'
import type { Principal } from '../admission/ports.ts'
import { acceptValue, type FieldSchema } from '../fields/fields.ts'
import type { FieldKeys } from '../keys/field-keys.ts'
import { type Decision, decideCall, limitsOfCall } from '../policy/policy.ts'
import { countByField } from './count-by-field.ts'

export interface TokenizeRequest {
  readonly requestId: string
  readonly purpose: string
  readonly values: readonly { readonly field: string; readonly value: string }[]
  /** Under which the caller acts. */
  readonly ticket?: string | undefined
}

/** The answer for one value, in input order; the value itself is never repeated. */
export type TokenizedItem =
  | { readonly field: string; readonly token: string }
  | { readonly field: string; readonly error: { readonly code: ErrorCode } }

/**
 * Gives the tokens of values, so that a permitted caller can look for them in user_logins. It stores nothing.
 * Privileged like detokenize, and charged to the same budget: whoever may tokenize at will can find an IPv4 address by
 * trying all of them.
 *
 * @throws TokenvaultError `purpose_missing`, `purpose_invalid`, `ticket_invalid`, `batch_empty`, `batch_too_large`,
 *   `role_not_permitted`, `purpose_not_permitted`, `ticket_required`, `batch_over_role_limit`, `budget_exceeded`,
 *   `principal_suspended`, `audit_unavailable`
 */
export type Tokenize = (principal: Principal, request: TokenizeRequest) => Promise<readonly TokenizedItem[]>

/** @returns the verb */
export function createTokenize(deps: {
  readonly fields: FieldSchema
  readonly keys: FieldKeys
  readonly openAction: OpenAction
}): Tokenize {
  const { fields, openAction } = deps
  return async (principal, { requestId, purpose, values, ticket }) => {
    const call = { operation: 'tokenize', mode: 'look_up', principal, requestId, purpose, ticket } as const
    const { policy, record, refuse } = await openAction({ ...call, requested: values.length })
    const question = {
      roles: principal.roles,
      operation: 'tokenize',
      purpose,
      hasTicket: ticket !== undefined,
    } as const
    const { byField, refusal } = decideCall(policy, fields, question)
    const asked = values.map(({ field }) => field)
    const noneGiven = { fields: countByField(byField, asked, []) }
    if (refusal !== undefined) return refuse(refusal, undefined, noneGiven)
    const named = [...new Set(asked)].flatMap(field => byField.get(field) ?? [])
    const isGranted = named.some(({ grantedBy }) => grantedBy.length > 0)
    const { batchLimit, perMinute, perDay } = limitsOfCall(policy, isGranted ? named : byField.values())
    if (values.length > batchLimit)
      return refuse('batch_over_role_limit', `at most ${batchLimit} items in one call`, noneGiven)

    const items = makeTokens(deps, byField, values)
    const given = items.filter(item => 'token' in item)
    const givenFields = given.map(({ field }) => field)
    const grantedTokens = given.map(({ token }) => token)
    const withheld = items.flatMap(item => ('error' in item ? [item.error.code] : []))
    const charge = { values: new Set(grantedTokens).size, perMinute, perDay }
    await record({ fields: countByField(byField, asked, givenFields), grantedTokens, withheld, charge })
    return items
  }
}

/** One answer a value, in input order. */
function makeTokens(
  { fields, keys }: { readonly fields: FieldSchema; readonly keys: FieldKeys },
  byField: ReadonlyMap<string, Decision>,
  values: TokenizeRequest['values'],
): TokenizedItem[] {
  const items = new Array<TokenizedItem>(values.length)
  const places = new Map<string, { index: number; normalized: string }[]>()
  for (const [index, { field: name, value }] of values.entries()) {
    const decision = byField.get(name)
    const code = decision === undefined ? 'field_unknown' : decision.code
    const normalized = code === undefined ? acceptValue(fields.get(name)!, value, fields) : { code }
    if (typeof normalized !== 'string') {
      items[index] = { field: name, error: normalized }
      continue
    }
    const found = places.get(name) ?? []
    found.push({ index, normalized })
    places.set(name, found)
  }
  for (const [field, found] of places) {
    const tokenKey = keys.tokenKey(field, keys.primaryVersion('token', field))!
    const tokens = tokenKey.tokensOf(packText(found.map(({ normalized }) => normalized)))
    for (const [order, { index }] of found.entries()) items[index] = { field, token: tokens[order]! }
  }
  return items
}
