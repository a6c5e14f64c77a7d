import { randomUUID } from 'node:crypto'
import { type ParsedToken, parseToken } from '../../crypto/token.ts'
import { type ErrorCode, TokenvaultError } from '../../errors.ts'
import { digestRequest } from '../admission/approval-digest.ts'
import type { Effect, Principal, Ruling } from '../admission/ports.ts'
import type { RecordAct, RecordedAct } from '../admission/record-action.ts'
import { checkApprovalId, checkBatchSize, checkPurpose, checkTicket } from '../admission/request-shape.ts'
import type { FieldSchema } from '../fields/fields.ts'
import type { FieldKeys } from '../keys/field-keys.ts'
import { type Decision, decideCall, type Limits, limitsOfCall, type Policy } from '../policy/policy.ts'
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

/** Place of the call's event in the log, of which the caller gets a receipt. */
export type Evidence = Pick<RecordedAct, 'sequence' | 'leafHash'>

/** A request for approval that waits for a decision, or was approved before and waits to be used. */
export interface OpenRequest {
  readonly id: string
  readonly state: 'pending' | 'approved'
  /** RFC 3339, UTC. */
  readonly expiresAt: string
}

/**
 * `refused`: the call was atomic and an item failed, so only the failures are told. `approval_required`: nothing was looked
 * up; a second person has to decide first.
 */
export type DetokenizeResult =
  | { readonly outcome: 'complete'; readonly items: readonly DetokenizedItem[]; readonly evidence: Evidence }
  | { readonly outcome: 'refused'; readonly failures: readonly { readonly index: number; readonly code: ErrorCode }[] }
  | {
      readonly outcome: 'approval_required'
      readonly approval: OpenRequest
      readonly evidence: Evidence
    }

/**
 * Gives originals back, one answer an item, in input order. Authorization, look-up, authentication of what was found, the
 * budget, the approval and the audit event are one act: no caller can have the value without the others.
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
  readonly recordAct: RecordAct
  /** The current policy; a call is decided by one of them from beginning to end. */
  readonly policy: () => Policy
}

/** @returns the verb; the readers and the audit log stand behind the ports of `deps` */
export function createDetokenize(deps: DetokenizeDependencies): Detokenize {
  const { recordAct } = deps
  return async (principal, request) => {
    const { requestId, purpose, tokens, atomic, ticket, approvalId } = request
    checkPurpose(purpose)
    checkTicket(ticket)
    checkApprovalId(approvalId)
    checkBatchSize(tokens.length)
    const policy = deps.policy()
    const asking = { operation: 'detokenize', principal, requestId, purpose, ticket, policy } as const
    const act = { ...asking, requested: tokens.length, grantedTokens: [], withheld: [] }
    const refuse = async (code: ErrorCode, detail?: string): Promise<never> => {
      await recordAct({ ...act, refusal: code })
      throw new TokenvaultError(code, detail)
    }

    const question = { roles: principal.roles, operation: 'detokenize', purpose, reveal: request.reveal } as const
    const decided = decideCall(policy, deps.fields, { ...question, hasTicket: ticket !== undefined })
    if (decided.refusal !== undefined) return refuse(decided.refusal)
    const distinct = new Map(tokens.map(token => [token, parse(token)]))
    const asked = countPermitted(distinct, decided.byField)
    // Where the call asks for nothing that is granted, of all that is: it is bounded, too.
    const concerned = asked.size > 0 ? [...asked.keys()] : [...decided.byField.keys()]
    const limits = limitsOfCall(
      policy,
      concerned.map(field => decided.byField.get(field)!),
    )
    if (tokens.length > limits.batchLimit) {
      return refuse('batch_over_role_limit', `at most ${limits.batchLimit} items in one call`)
    }

    const needed = approvalId !== undefined || needsApproval(asked, decided.byField, limits)
    const approval = needed ? describeApproval(deps.keys, request, asked, decided.byField) : undefined
    if (approval !== undefined && approvalId === undefined) {
      const effect: Effect = { kind: 'request_approval', id: randomUUID(), ...approval }
      const { ruling, sequence, leafHash } = await recordAct({ ...act, effect })
      return { outcome: 'approval_required', approval: openRequest(ruling), evidence: { sequence, leafHash } }
    }
    const effect = approval && ({ kind: 'use_approval', id: approvalId!, digest: approval.digest } as const)

    const answers = await openTokens(deps, decided.byField, distinct)
    const failures = tokens.flatMap((token, index) => {
      const answer = answers.get(token)!
      return 'code' in answer ? [{ index, code: answer.code }] : []
    })
    const withheld = failures.map(({ code }) => code)
    if (atomic && failures.length > 0) {
      // What failed is told, so the approval was for this call, and is used up.
      await recordAct({ ...act, withheld, effect, refusal: 'batch_refused' })
      return { outcome: 'refused', failures }
    }
    const grantedTokens = tokens.filter(token => 'value' in answers.get(token)!)
    const partial = grantedTokens.filter(token => 'partial' in answers.get(token)!).length
    const { perMinute, perDay } = limits
    const charge = { values: new Set(grantedTokens).size, perMinute, perDay }
    const { sequence, leafHash } = await recordAct({ ...act, grantedTokens, partial, withheld, charge, effect })
    const items = tokens.map((token): DetokenizedItem => {
      const answer = answers.get(token)!
      return 'code' in answer ? { token, error: answer } : { token, ...answer }
    })
    return { outcome: 'complete', items, evidence: { sequence, leafHash } }
  }
}

/** Of no vault. */
const decoy = 'device_id_v1_m3yTq9Zb1uWfJ0aXo7sPcQm3yTq9Zb1u'

/** What is no token takes as long as one: how long a reply takes does not tell a malformed token from an unknown one. */
function parse(token: string): ParsedToken | undefined {
  const parsed = parseToken(token)
  if (parsed === undefined) parseToken(decoy)
  return parsed
}

function openRequest(ruling: Ruling): OpenRequest {
  if (ruling.allowed) {
    const { approvalId: id, approvalState: state, approvalExpiresAt: expiresAt } = ruling
    if (id !== undefined && state !== undefined && expiresAt !== undefined) return { id, state, expiresAt }
  }
  throw new TokenvaultError('internal', 'a request for approval was recorded without saying which')
}

type ByField = ReadonlyMap<string, Decision>

/** Distinct tokens of each field that may be revealed, going by their text alone. */
function countPermitted(distinct: ReadonlyMap<string, ParsedToken | undefined>, byField: ByField) {
  const asked = new Map<string, number>()
  for (const parsed of distinct.values()) {
    if (parsed === undefined || (byField.get(parsed.field)?.level ?? 'none') === 'none') continue
    asked.set(parsed.field, (asked.get(parsed.field) ?? 0) + 1)
  }
  return asked
}

function needsApproval(asked: ReadonlyMap<string, number>, byField: ByField, limits: Limits): boolean {
  return (
    [...asked.keys()].some(field => byField.get(field)!.needsApproval) ||
    sum(asked) > (limits.approvalAbove ?? Number.POSITIVE_INFINITY)
  )
}

function sum(asked: ReadonlyMap<string, number>): number {
  return [...asked.values()].reduce((total, count) => total + count, 0)
}

/** What the second person decides about, and nothing else is covered. */
function describeApproval(
  keys: FieldKeys,
  { purpose, ticket, tokens }: DetokenizeRequest,
  asked: ReadonlyMap<string, number>,
  byField: ByField,
) {
  // What the policy gives now, and not what was asked: one that becomes more generous meanwhile voids the approval.
  const levels = Object.fromEntries(
    [...asked.keys()].map(field => [field, byField.get(field)!.level === 'full' ? 'full' : 'partial'] as const),
  )
  const reveal = Object.values(levels).includes('full') ? 'full' : 'partial'
  const digest = digestRequest(keys, { operation: 'detokenize', tokens, purpose, ticket, levels })
  return { digest, ticket, reveal, values: sum(asked), fields: Object.fromEntries(asked) } as const
}
