import { randomUUID } from 'node:crypto'
import { type ErrorCode, TokenvaultError } from '../../errors.ts'
import type { Receipt } from '../../tlog/receipt.ts'
import { describeApproval } from '../admission/approval-request.ts'
import type { RequestApproval } from '../admission/audit-event.ts'
import { type AnySigner, signReceiptOf } from '../admission/log-signer.ts'
import { checkApprovalId, type OpenAction } from '../admission/open-action.ts'
import type { Admission, CommittedAction, Principal, Remaining } from '../admission/ports.ts'
import type { FieldSchema } from '../fields/fields.ts'
import type { FieldKeys } from '../keys/field-keys.ts'
import { needsApproval, sumOf } from '../policy/policy.ts'
import { decideTokens, type TokensCall } from './decide-tokens.ts'
import { type FindErasedTokens, nameErased } from './erased-tokens.ts'
import { findTokens } from './find-tokens.ts'
import { openFound } from './open-tokens.ts'
import type { OriginalReader } from './ports.ts'

export interface DetokenizeRequest extends TokensCall {
  /** All or nothing. */
  readonly atomic: boolean
  /** The approval that this call uses up. */
  readonly approvalId?: string | undefined
}

export type DetokenizedItem =
  | { readonly token: string; readonly field: string; readonly value: string; readonly partial?: true }
  | { readonly token: string; readonly field?: string; readonly error: { readonly code: ErrorCode } }

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
  readonly signer: AnySigner
  readonly openAction: OpenAction
  /** Absent: erased tokens are unknown to everybody. */
  readonly findErasedTokens?: FindErasedTokens | undefined
}

/** @returns the verb; the reader stands behind its port */
export function createDetokenize(deps: DetokenizeDependencies): Detokenize {
  const { keys, signer } = deps
  return async (principal, request) => {
    const { tokens, atomic, approvalId } = request
    const decided = await decideTokens(deps, principal, request)
    const { byField, identities, distinct, asked, limits, countGiven } = decided
    const { record } = decided.action
    checkApprovalId(approvalId)
    const noneGiven = { fields: countGiven([]) }

    const ask = (): RequestApproval => {
      return {
        kind: 'request_approval',
        id: randomUUID(),
        ...describeApproval(keys, { ...request, identities }, asked, byField),
      }
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

    const found = await findTokens(deps, byField, distinct)
    const { answers: opened, firstOfValue } = openFound(deps.fields, byField, found)
    const asker = { policy: decided.action.policy, roles: principal.roles }
    const answers = await nameErased(deps, asker, distinct, opened)
    const failures = identities.flatMap((identity, index) => {
      const answer = answers.get(identity)!
      return 'code' in answer ? [{ index, code: answer.code }] : []
    })
    const withheld = failures.map(({ code }) => code)
    if (atomic && failures.length > 0) {
      // The reply tells what failed, so an approval is used up, and needed where it would be to give the values.
      const charge = { values: 0, withoutApproval }
      const committed = await record({ ...noneGiven, withheld, charge, change, otherwise, refusal: 'batch_refused' })
      return isPending(committed) ? answerPending(signer, committed) : { outcome: 'refused', failures }
    }
    const grantedTokens = identities.filter(identity => 'value' in answers.get(identity)!)
    const partial = grantedTokens.filter(identity => 'partial' in answers.get(identity)!).length
    const { perMinute, perDay } = limits
    const values = new Set(grantedTokens.map(identity => firstOfValue.get(identity))).size
    const charge = { values, perMinute, perDay, withoutApproval }
    const committed = await record({
      fields: countGiven(grantedTokens),
      grantedTokens,
      partial,
      withheld,
      charge,
      change,
      otherwise,
    })
    if (isPending(committed)) return answerPending(signer, committed)
    const items = tokens.map((item, index): DetokenizedItem => {
      const named = typeof item === 'string' ? { token: item } : item
      const answer = answers.get(identities[index]!)!
      return 'code' in answer ? { ...named, error: answer } : { ...named, ...answer }
    })
    return { outcome: 'complete', items, receipt: await signReceiptOf(signer, committed) }
  }
}

/** Whether a request for approval took the place of the call. */
function isPending({ admission }: CommittedAction): boolean {
  return admission.allowed && admission.approvalId !== undefined
}

async function answerPending(signer: AnySigner, committed: CommittedAction): Promise<DetokenizeResult> {
  const receipt = await signReceiptOf(signer, committed)
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
