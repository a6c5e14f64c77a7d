import type { ActionCall } from '../admission/audit-event.ts'
import type { OpenAction, OpenedAction } from '../admission/open-action.ts'
import type { FieldCounts, Principal } from '../admission/ports.ts'
import type { FieldSchema } from '../fields/fields.ts'
import { type CallLimits, type Decision, decideCall, limitsOfCall } from '../policy/policy.ts'
import { countByField } from './count-by-field.ts'
import { type ReadToken, readToken, type TokenItem } from './read-token.ts'

/** A call about tokens, as the policy is asked about it. */
export interface TokensCall {
  readonly requestId: string
  readonly purpose: string
  readonly tokens: readonly TokenItem[]
  /** Under which the caller acts. */
  readonly ticket?: string | undefined
  /** No more than this, whatever the roles permit. */
  readonly reveal?: 'partial' | undefined
}

/** What becomes of a call by its text and the policy, before anything is looked up. */
export interface DecidedTokens {
  readonly action: OpenedAction
  readonly byField: ReadonlyMap<string, Decision>
  /** The identity of each item of the call, in input order. */
  readonly identities: readonly string[]
  /** Distinct tokens by identity, with what the text of each says. */
  readonly distinct: ReadonlyMap<string, ReadToken>
  /** How many of them there are of each field that may be revealed. */
  readonly asked: ReadonlyMap<string, number>
  readonly limits: CallLimits
  /** For the evidence: the items of the call by field, of which those of these identities were given. */
  countGiven(given: readonly string[]): ReadonlyMap<string, FieldCounts>
}

/**
 * Opens the action and asks the policy. A call that gives nothing, whatever the vault holds, is refused here and on record.
 *
 * @throws TokenvaultError `purpose_missing`, `purpose_invalid`, `ticket_invalid`, `batch_empty`, `batch_too_large`,
 *   `role_not_permitted`, `purpose_not_permitted`, `ticket_required`, `batch_over_role_limit`, `principal_suspended`,
 *   `audit_unavailable`
 */
export async function decideTokens(
  { fields, openAction }: { readonly fields: FieldSchema; readonly openAction: OpenAction },
  principal: Principal,
  { requestId, purpose, tokens, ticket, reveal }: TokensCall,
  mode?: ActionCall['mode'],
): Promise<DecidedTokens> {
  const call = { operation: 'detokenize', principal, requestId, purpose, ticket, requested: tokens.length } as const
  const action = await openAction(mode === undefined ? call : { ...call, mode })
  const { policy, refuse } = action
  const hasTicket = ticket !== undefined
  const question = { roles: principal.roles, operation: 'detokenize', purpose, reveal, hasTicket } as const
  const { byField, refusal } = decideCall(policy, fields, question)
  const read = tokens.map(readToken)
  const identities = read.map(({ identity }) => identity)
  const distinct = new Map(read.map(token => [token.identity, token]))
  const fieldsOf = (items: readonly string[]) => items.map(identity => distinct.get(identity)?.field)
  const countGiven = (given: readonly string[]) => countByField(byField, fieldsOf(identities), fieldsOf(given))
  if (refusal !== undefined) return refuse(refusal, undefined, { fields: countGiven([]) })
  const asked = countPermitted(distinct, byField)
  // A call that asks for no permitted field is bounded too: by the limits of all permitted fields.
  const concerned = asked.size > 0 ? [...asked.keys()].map(field => byField.get(field)!) : byField.values()
  const limits = limitsOfCall(policy, concerned)
  if (tokens.length > limits.batchLimit) {
    const detail = `at most ${limits.batchLimit} items in one call`
    return refuse('batch_over_role_limit', detail, { fields: countGiven([]) })
  }
  return { action, byField, identities, distinct, asked, limits, countGiven }
}

/** Distinct tokens of each field that may be revealed, going by their text alone. */
function countPermitted(distinct: ReadonlyMap<string, ReadToken>, byField: ReadonlyMap<string, Decision>) {
  const asked = new Map<string, number>()
  for (const { field } of distinct.values()) {
    if (field === undefined || (byField.get(field)?.level ?? 'none') === 'none') continue
    asked.set(field, (asked.get(field) ?? 0) + 1)
  }
  return asked
}
