import { type ErrorCode, TokenvaultError } from '../../errors.ts'
import type { Receipt } from '../../tlog/receipt.ts'
import { describeApproval } from '../admission/approval-request.ts'
import { signReceiptOf } from '../admission/log-signer.ts'
import type { Charge, Principal, Remaining, Standing } from '../admission/ports.ts'
import { type Policy, type RevealLevel, rolesThatMay, sumOf } from '../policy/policy.ts'
import { tally } from './count-by-field.ts'
import { decideTokens, type TokensCall } from './decide-tokens.ts'
import type { DetokenizeDependencies } from './detokenize.ts'
import { type FoundGroup, findTokens } from './find-tokens.ts'

export interface PreviewRequest extends TokensCall {
  /** Whether the call would be all or nothing. */
  readonly atomic: boolean
}

/** Of one budget: values in its window, and how many of them are left. */
export interface BudgetLeft {
  readonly limit: number
  readonly left: number
}

/** What a call of `detokenize` would be answered, were it made at this moment. */
export interface Preview {
  /** `values`: what is not withheld is given. The others are what the whole call would be answered instead. */
  readonly answer: 'values' | 'approval_required' | 'approvals_too_many' | 'batch_refused' | 'budget_exceeded'
  /**
   * Of every configured field that the call names, in the order of the configuration: the level at which the policy permits it,
   * and how many distinct values are there to be given; where a second person has to approve, how many are asked for. Values of
   * a field that is not permitted are not looked for.
   */
  readonly fields: readonly { readonly field: string; readonly level: RevealLevel; readonly values: number }[]
  /** Items that would be withheld, by code. */
  readonly withheld: readonly { readonly code: ErrorCode; readonly items: number }[]
  readonly budget: {
    /** What the call would take of each. */
    readonly values: number
    readonly minute?: BudgetLeft
    readonly day?: BudgetLeft
    /** The one that does not hold the call. Whoever exceeds that of a day is suspended. */
    readonly exceeds?: 'minute' | 'day'
    /** Whole seconds, at least 1, after which that one holds the call. */
    readonly retryAfterSeconds?: number
  }
  /** Allowances that bound what the caller takes without a second person, the shortest window first. */
  readonly withoutApproval: readonly Remaining[]
  /** Absent where the call needs no second person. */
  readonly approval?: {
    /** Fields of the call that always need one. */
    readonly fields: readonly string[]
    /** Where the number of values is why: what is left without. */
    readonly withoutApproval?: Remaining
    /** Roles that may decide. */
    readonly approvers: readonly string[]
    /** The request for approval of exactly this call that is open. */
    readonly request?: NonNullable<Standing['request']>
  }
}

/**
 * Says what a call of `detokenize` would be answered, without making it: nothing is opened, given, charged or requested.
 * What the call would be refused for as a whole is refused here in the same way. It is an event all the same, of which
 * nothing was given. That an original is authentic is known only once it is opened, so it is not told here.
 *
 * @throws TokenvaultError `purpose_missing`, `purpose_invalid`, `ticket_invalid`, `batch_empty`, `batch_too_large`,
 *   `role_not_permitted`, `purpose_not_permitted`, `ticket_required`, `batch_over_role_limit`, `principal_suspended`,
 *   `store_unavailable`, `audit_unavailable`
 */
export type PreviewDetokenize = (
  principal: Principal,
  request: PreviewRequest,
) => Promise<{ readonly preview: Preview; readonly receipt: Receipt }>

/** @returns the verb; the reader stands behind its port */
export function createPreviewDetokenize(deps: DetokenizeDependencies): PreviewDetokenize {
  const { keys, signer } = deps
  return async (principal, request) => {
    const decided = await decideTokens(deps, principal, request, 'preview')
    const { action, byField, identities, distinct, asked, limits, countGiven } = decided
    const { groups, withheld: codes } = await findTokens(deps, byField, distinct)
    const { perMinute, perDay } = limits
    const withoutApproval = { asked: sumOf(asked), allowances: limits.withoutApproval }
    const found = tally(distinctValues(groups).map(({ field }) => field))
    const charge = { values: sumOf(found), perMinute, perDay, withoutApproval }
    const { digest } = describeApproval(keys, { ...request, identities }, asked, byField)
    const withheld = identities.flatMap(identity => codes.get(identity) ?? [])
    // The caller is given nothing: what was there to be given stays out of the evidence of what was.
    const fields = countGiven([])
    const committed = await action.record({ fields, withheld, preview: { charge, digest } })
    const standing = committed.admission.allowed ? committed.admission.standing : undefined
    if (standing === undefined)
      throw new TokenvaultError('internal', 'a preview was recorded without saying how it stands')

    const guarded = [...asked.keys()].filter(field => byField.get(field)!.needsApproval)
    const isApprovalNeeded = guarded.length > 0 || standing.nearest !== undefined
    const isRefused = request.atomic && withheld.length > 0
    // Before a second person has approved, the call itself would not tell which tokens there are.
    const values = isApprovalNeeded ? asked : found
    const isSought = (identity: string) => asked.has(distinct.get(identity)?.field ?? '')
    const told = isApprovalNeeded
      ? identities.flatMap(identity => (isSought(identity) ? [] : (codes.get(identity) ?? [])))
      : withheld
    const preview: Preview = {
      answer: answerOf(standing, isApprovalNeeded, isRefused),
      fields: [...fields].map(([field, { level }]) => ({ field, level, values: values.get(field) ?? 0 })),
      withheld: [...tally(told)].map(([code, items]) => ({ code, items })),
      budget: describeBudget({ ...charge, values: sumOf(values) }, standing),
      withoutApproval: standing.allowances,
      ...(isApprovalNeeded ? { approval: describeNeed(action.policy, guarded, standing) } : {}),
    }
    return { preview, receipt: await signReceiptOf(signer, committed) }
  }
}

/** One a value: after a rotation it has several tokens, that lead to one original or will. */
function distinctValues(groups: readonly FoundGroup[]): readonly { readonly field: string }[] {
  const originals = groups.flatMap(({ members }) => members.map(({ original }) => original))
  return [...new Map(originals.map(original => [original.successor ?? original.tokenId, original])).values()]
}

/** In the order in which the call itself would be checked. */
function answerOf(standing: Standing, isApprovalNeeded: boolean, isRefused: boolean): Preview['answer'] {
  if (isApprovalNeeded) return standing.hasTooManyRequests ? 'approvals_too_many' : 'approval_required'
  if (isRefused) return 'batch_refused'
  return standing.exceeds === undefined ? 'values' : 'budget_exceeded'
}

function describeBudget({ values, perMinute, perDay }: Charge, standing: Standing): Preview['budget'] {
  const { minuteLeft, dayLeft, exceeds } = standing
  return {
    values,
    ...(perMinute === undefined || minuteLeft === undefined ? {} : { minute: { limit: perMinute, left: minuteLeft } }),
    ...(perDay === undefined || dayLeft === undefined ? {} : { day: { limit: perDay, left: dayLeft } }),
    ...(exceeds && { exceeds: exceeds.window, retryAfterSeconds: Math.max(1, exceeds.retryAfterSeconds) }),
  }
}

function describeNeed(
  policy: Policy,
  fields: readonly string[],
  { nearest, request }: Standing,
): NonNullable<Preview['approval']> {
  return {
    fields,
    ...(nearest && { withoutApproval: nearest }),
    approvers: rolesThatMay(policy, 'approve'),
    ...(request && { request }),
  }
}
