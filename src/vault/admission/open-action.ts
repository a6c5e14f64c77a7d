import { type ErrorCode, TokenvaultError } from '../../errors.ts'
import type { FieldKeys } from '../keys/field-keys.ts'
import { type Capability, may, type Policy } from '../policy/policy.ts'
import { type ActionCall, type ActionOutcome, describeEvents } from './action-events.ts'
import type { ActionLog, Admission, ApprovalNotice, CommittedAction, NotifyApprovers } from './ports.ts'
import { checkBatchSize, checkPurpose, checkTicket } from './request-shape.ts'

/**
 * Opens an action: every privileged verb begins with this, and with nothing else. The action is decided by one policy from
 * beginning to end.
 *
 * @param call.needs a capability that one of the principal's roles must have
 * @throws TokenvaultError `purpose_missing`, `purpose_invalid`, `ticket_invalid`, `batch_empty`, `batch_too_large`; and
 *   `role_not_permitted` where the capability is lacking, which is on record then, or as `record` does
 */
export type OpenAction = (call: ActionCall & { readonly needs?: Capability }) => Promise<OpenedAction>

/** An action that was opened. Nothing of it may be told before one of these functions has resolved or thrown. */
export interface OpenedAction {
  /** The policy that decides it. */
  readonly policy: Policy
  /**
   * Has the action admitted and its evidence committed, and approvers told of a new request for approval.
   *
   * @throws TokenvaultError `audit_unavailable`, and then nothing at all may be told; or the code of an admission that
   *   refuses, which is on record then (`budget_exceeded` as BudgetExceeded)
   */
  record(outcome?: ActionOutcome): Promise<CommittedAction>
  /** Records that the action is refused as a whole. @throws TokenvaultError the code, or as `record` */
  refuse(code: ErrorCode, detail?: string): Promise<never>
  /** Records that the one thing asked for is not given. @throws TokenvaultError the code, or as `record` */
  withhold(code: ErrorCode, outcome?: Pick<ActionOutcome, 'quarantined'>): Promise<never>
}

/** A budget does not hold the call: in which window, and after how many whole seconds the same call fits again. */
export class BudgetExceeded extends TokenvaultError {
  readonly window: 'minute' | 'day'
  readonly retryAfterSeconds: number

  /** @param window which of the budgets @param retryAfterSeconds at least 1 is told */
  constructor(window: 'minute' | 'day', retryAfterSeconds: number) {
    super('budget_exceeded')
    this.window = window
    this.retryAfterSeconds = Math.max(1, Math.ceil(retryAfterSeconds))
  }
}

/**
 * @param deps.policy the current policy
 * @param deps.notifyApprovers is told of every new request for approval, once it is committed
 * @returns what opens actions; the log stands behind its port
 */
export function createOpenAction(deps: {
  readonly log: ActionLog
  readonly keys: FieldKeys
  readonly now: () => Date
  readonly policy: () => Policy
  readonly notifyApprovers?: NotifyApprovers | undefined
}): OpenAction {
  const { log, keys, now, notifyApprovers } = deps

  return async call => {
    const { principal, purpose = '', ticket, requested, needs } = call
    if (call.purpose !== undefined) checkPurpose(purpose)
    checkTicket(ticket)
    if (requested !== undefined) checkBatchSize(requested)
    const policy = deps.policy()

    const record = async (outcome: ActionOutcome = {}): Promise<CommittedAction> => {
      const { charge, change } = outcome
      let committed: CommittedAction
      try {
        const events = describeEvents(call, outcome, { at: now(), keys, policy })
        committed = await log.commit({ principal, purpose, charge, change, events })
      } catch (cause) {
        // Whatever went wrong, the caller learns one thing: there is no evidence, so there is no answer.
        throw new TokenvaultError('audit_unavailable', undefined, { cause })
      }
      const { admission } = committed
      if (!admission.allowed) throw refusalOf(admission)
      const notice = noticeOf(call, outcome, admission)
      if (notice !== undefined) notifyApprovers?.(notice)
      return committed
    }
    const refuse: OpenedAction['refuse'] = async (code, detail) => {
      await record({ refusal: code })
      throw new TokenvaultError(code, detail)
    }
    const withhold: OpenedAction['withhold'] = async (code, outcome) => {
      await record({ ...outcome, withheld: [code] })
      throw new TokenvaultError(code)
    }

    if (needs !== undefined && !may(policy, principal.roles, needs)) return refuse('role_not_permitted')
    return { policy, record, refuse, withhold }
  }
}

function refusalOf(admission: Extract<Admission, { readonly allowed: false }>): TokenvaultError {
  const { code, window = 'day', retryAfterSeconds = 1 } = admission
  return code === 'budget_exceeded' ? new BudgetExceeded(window, retryAfterSeconds) : new TokenvaultError(code)
}

/** What approvers are told; nothing where the action made no request, or one that was open already. */
function noticeOf(
  { principal, purpose = '' }: ActionCall,
  { change }: ActionOutcome,
  { approvalId, approvalExpiresAt = '' }: Extract<Admission, { readonly allowed: true }>,
): ApprovalNotice | undefined {
  if (change?.kind !== 'request_approval' || approvalId !== change.id) return undefined
  const { issuer, subject, roles } = principal
  const { id, ticket, reveal, values, fields } = change
  return { id, issuer, subject, roles, purpose, ticket, reveal, values, fields, expiresAt: approvalExpiresAt }
}
