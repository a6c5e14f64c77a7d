import { randomUUID } from 'node:crypto'
import { type ParsedToken, parseToken } from '../../crypto/token.ts'
import { type ErrorCode, TokenvaultError } from '../../errors.ts'
import { type Receipt, signReceipt } from '../../tlog/receipt.ts'
import type { NoteSigner } from '../../tlog/signed-note.ts'
import { describeApproval } from '../admission/approval-request.ts'
import type { RequestApproval } from '../admission/audit-event.ts'
import { checkApprovalId, type OpenAction } from '../admission/open-action.ts'
import type { Admission, CommittedAction, Principal, Remaining } from '../admission/ports.ts'
import type { FieldSchema } from '../fields/fields.ts'
import type { FieldKeys } from '../keys/field-keys.ts'
import { type Decision, decideCall, limitsOfCall, needsApproval, sumOf } from '../policy/policy.ts'
import { countByField } from './count-by-field.ts'
import { openTokens } from './open-tokens.ts'
import type { OriginalReader } from './ports.ts'

export interface DetokenizeRequest {
  readonly requestId: string
  readonly purpose: string
  readonly tokens: readonly string[]
  /** All or nothing. */
  readonly atomic: boolean
  /** Under which the caller acts. */
  readonly ticket?: string | undefined
  /** No more than this, whatever the roles permit. */
  readonly reveal?: 'partial' | undefined
  /** The approval that this call uses up. */
  readonly approvalId?: string | undefined
}

export type DetokenizedItem =
  | { readonly token: string; readonly field: string; readonly value: string; readonly partial?: true }
  | { readonly token: string; readonly error: { readonly code: ErrorCode } }

/** A request for approval that waits for a decision, or was approved before and waits to be used. */
export interface OpenRequest {
  readonly id: string
  readonly state: 'pending' | 'approved'
  /** RFC 3339, UTC. */
  readonly expiresAt: string
  /** Where the number of values is why: what the caller may still take without a second person. */
  readonly withoutApproval?: Remaining
}

/**
 * `refused`: the call was atomic and an item failed, so only the failures are told. `approval_required`: nothing is
 * told; a second person has to decide first.
 */
export type DetokenizeResult =
  | { readonly outcome: 'complete'; readonly items: readonly DetokenizedItem[]; readonly receipt: Receipt }
  | { readonly outcome: 'refused'; readonly failures: readonly { readonly index: number; readonly code: ErrorCode }[] }
  | { readonly outcome: 'approval_required'; readonly approval: OpenRequest; readonly receipt: Receipt }

/**
 * Gives originals back, one answer an item, in input order. Authorization, look-up, authentication of what was found, the
 * budget, the approval and the audit event are one action: no caller can have the value without the others.
 *
 * @throws TokenvaultError `purpose_missing`, `purpose_invalid`, `ticket_invalid`, `batch_empty`, `batch_too_large`,
 *   `role_not_permitted`, `purpose_not_permitted`, `ticket_required`, `batch_over_role_limit`, `budget_exceeded`,
 *   `principal_suspended`, `approval_unknown`, `approval_unusable`, `approvals_too_many`, `store_unavailable`, `audit_unavailable`
 */
export type Detokenize = (principal: Principal, request: DetokenizeRequest) => Promise<DetokenizeResult>

export interface DetokenizeDependencies {
  readonly fields: FieldSchema
  readonly keys: FieldKeys
  readonly originals: OriginalReader
  /** Signs the receipts. */
  readonly signer: NoteSigner
  readonly openAction: OpenAction
}

/** @returns the verb; the reader stands behind its port */
export function createDetokenize(deps: DetokenizeDependencies): Detokenize {
  const { fields, keys, signer, openAction } = deps
  return async (principal, request) => {
    const { requestId, purpose, tokens, atomic, ticket, reveal, approvalId } = request
    const call = { operation: 'detokenize', principal, requestId, purpose, ticket, requested: tokens.length } as const
    const { policy, record, refuse } = await openAction(call)
    checkApprovalId(approvalId)
    const hasTicket = ticket !== undefined
    const question = { roles: principal.roles, operation: 'detokenize', purpose, reveal, hasTicket } as const
    const { byField, refusal } = decideCall(policy, fields, question)
    const distinct = new Map(tokens.map(token => [token, parse(token)]))
    const fieldsOf = (items: readonly string[]) => items.map(token => distinct.get(token)?.field)
    const noneGiven = { fields: countByField(byField, fieldsOf(tokens), []) }
    if (refusal !== undefined) return refuse(refusal, undefined, noneGiven)
    const asked = countPermitted(distinct, byField)
    // A call that asks for no permitted field is bounded too: by the limits of all permitted fields.
    const concerned = asked.size > 0 ? [...asked.keys()].map(field => byField.get(field)!) : byField.values()
    const limits = limitsOfCall(policy, concerned)
    if (tokens.length > limits.batchLimit) {
      return refuse('batch_over_role_limit', `at most ${limits.batchLimit} items in one call`, noneGiven)
    }

    const ask = (): RequestApproval => {
      return { kind: 'request_approval', id: randomUUID(), ...describeApproval(keys, request, asked, byField) }
    }
    const limit = { asked: sumOf(asked), allowances: limits.withoutApproval }
    if (approvalId === undefined && needsApproval(asked, byField, limits)) {
      return answerPending(
        signer,
        await record({ ...noneGiven, charge: { values: 0, withoutApproval: limit }, change: ask() }),
      )
    }
    // What a second person approved is not counted with what was taken without one.
    const isApproved = approvalId !== undefined
    const withoutApproval = isApproved ? undefined : limit
    const otherwise = isApproved ? undefined : ask
    const change = isApproved ? ({ kind: 'use_approval', id: approvalId, digest: ask().digest } as const) : undefined

    const answers = await openTokens(deps, byField, distinct)
    const failures = tokens.flatMap((token, index) => {
      const answer = answers.get(token)!
      return 'code' in answer ? [{ index, code: answer.code }] : []
    })
    const withheld = failures.map(({ code }) => code)
    if (atomic && failures.length > 0) {
      // The reply tells what failed, so an approval is used up, and needed where it would be to give the values.
      const charge = { values: 0, withoutApproval }
      const committed = await record({ ...noneGiven, withheld, charge, change, otherwise, refusal: 'batch_refused' })
      return isPending(committed) ? answerPending(signer, committed) : { outcome: 'refused', failures }
    }
    const grantedTokens = tokens.filter(token => 'value' in answers.get(token)!)
    const partial = grantedTokens.filter(token => 'partial' in answers.get(token)!).length
    const { perMinute, perDay } = limits
    const charge = { values: new Set(grantedTokens).size, perMinute, perDay, withoutApproval }
    const fieldCounts = countByField(byField, fieldsOf(tokens), fieldsOf(grantedTokens))
    const committed = await record({ fields: fieldCounts, grantedTokens, partial, withheld, charge, change, otherwise })
    if (isPending(committed)) return answerPending(signer, committed)
    const items = tokens.map((token): DetokenizedItem => {
      const answer = answers.get(token)!
      return 'code' in answer ? { token, error: answer } : { token, ...answer }
    })
    return { outcome: 'complete', items, receipt: signReceipt(signer, committed) }
  }
}

/** A token that no vault made. */
const decoy = 'device_id_v1_m3yTq9Zb1uWfJ0aXo7sPcQ'

/** Text that is not a token takes as long as a token, so that the time of a reply does not tell a malformed token from an unknown one. */
function parse(token: string): ParsedToken | undefined {
  const parsed = parseToken(token)
  if (parsed === undefined) parseToken(decoy)
  return parsed
}

/** Whether a request for approval took the place of the call. */
function isPending({ admission }: CommittedAction): boolean {
  return admission.allowed && admission.approvalId !== undefined
}

function answerPending(signer: NoteSigner, committed: CommittedAction): DetokenizeResult {
  const receipt = signReceipt(signer, committed)
  return { outcome: 'approval_required', approval: openRequest(committed.admission), receipt }
}

function openRequest(admission: Admission): OpenRequest {
  if (admission.allowed) {
    const { approvalId: id, approvalState: state, approvalExpiresAt: expiresAt, withoutApproval } = admission
    if (id !== undefined && state !== undefined && expiresAt !== undefined)
      return { id, state, expiresAt, ...(withoutApproval && { withoutApproval }) }
  }
  throw new TokenvaultError('internal', 'a request for approval was recorded without saying which')
}

/** Distinct tokens of each field that may be revealed, going by their text alone. */
function countPermitted(
  distinct: ReadonlyMap<string, ParsedToken | undefined>,
  byField: ReadonlyMap<string, Decision>,
) {
  const asked = new Map<string, number>()
  for (const parsed of distinct.values()) {
    if (parsed === undefined || (byField.get(parsed.field)?.level ?? 'none') === 'none') continue
    asked.set(parsed.field, (asked.get(parsed.field) ?? 0) + 1)
  }
  return asked
}
