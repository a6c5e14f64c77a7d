import { type ErrorCode, TokenvaultError } from '../../errors.ts'
import type { FieldKeys } from '../keys/field-keys.ts'
import { may, type Policy } from '../policy/policy.ts'
import { type ActionCall, type ActionOutcome, describeEvents, type RequestApproval } from './audit-event.ts'
import { type HoneyTraps, meetHoney } from './honey-traps.ts'
import type {
  ActionLog,
  Admission,
  ApprovalNotice,
  CommittedAction,
  CountedAction,
  MetHoney,
  NotifyApprovers,
  Remaining,
} from './ports.ts'

/**
 * Opens an action: every privileged verb begins with this, and with nothing else. The action is decided by one policy from
 * beginning to end.
 *
 * @throws TokenvaultError `purpose_missing`, `purpose_invalid`, `ticket_invalid`, `batch_empty`, `batch_too_large`; and
 *   `role_not_permitted` where the capability is lacking, which is on record then, or as `record` does
 */
export type OpenAction = (call: ActionCall) => Promise<OpenedAction>

/** An action that was opened. Nothing of it may be told before one of these functions has resolved or thrown. */
export interface OpenedAction {
  /** The policy that decides it. */
  readonly policy: Policy
  /**
   * Has the action admitted and its evidence committed, and approvers told of a new request for approval.
   *
   * @throws TokenvaultError `audit_unavailable`, and then nothing at all may be told; or the code of an admission that
   *   refuses, which is on record then (`budget_exceeded` as BudgetExceeded, `approval_required` as ApprovalRequired)
   */
  record(outcome?: ActionOutcome): Promise<CommittedAction>
  /**
   * As `record`, for an action that tells its caller nothing but that. Whoever has no rights can repeat it at will, so
   * repeats within a minute make one event.
   */
  recordNothing(outcome?: ActionOutcome): Promise<void>
  /** Records that the action is refused as a whole, as `recordNothing`. @throws TokenvaultError the code, or as `record` */
  refuse(code: ErrorCode, detail?: string, outcome?: Pick<ActionOutcome, 'fields' | 'mode'>): Promise<never>
  /** Records that the one thing asked for is not given, as `recordNothing`. @throws TokenvaultError the code, or as `record` */
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

/** An action that nobody can approve would take more values than its principal may take without a second person. */
export class ApprovalRequired extends TokenvaultError {
  readonly withoutApproval: Remaining

  constructor(withoutApproval: Remaining) {
    super('approval_required')
    this.withoutApproval = withoutApproval
  }
}

/**
 * @param deps.now what the clock says, for tests
 * @param deps.policy the current policy
 * @param deps.notifyApprovers is told of every new request for approval, once it is committed
 * @param deps.traps finds honey tokens among what is given, and is told of them once that is committed
 * @returns what opens actions; the log stands behind its port
 */
export function createOpenAction(deps: {
  readonly log: ActionLog
  readonly keys: FieldKeys
  readonly now?: () => Date
  readonly policy: () => Policy
  readonly notifyApprovers?: NotifyApprovers | undefined
  readonly traps?: HoneyTraps | undefined
}): OpenAction {
  const { log, keys, now = () => new Date(), notifyApprovers, traps } = deps

  return async call => {
    const { principal, purpose = '', ticket, requested, needs } = call
    if (call.purpose !== undefined) checkPurpose(purpose)
    checkTicket(ticket)
    if (requested !== undefined) checkBatchSize(requested)
    const policy = deps.policy()

    const commit = async (outcome: ActionOutcome, givesNothing: boolean) => {
      const { charge, change, preview, otherwise } = outcome
      let request = change?.kind === 'request_approval' ? change : undefined
      let committed: CommittedAction | CountedAction
      let met: MetHoney | undefined
      try {
        const context = { at: now(), keys, policy }
        met = traps && meetHoney(traps, call, outcome, context)
        const askInstead = (makeRequest: () => RequestApproval) => {
          request ??= makeRequest()
          return {
            change: request,
            event: describeEvents(call, { fields: outcome.fields, change: request }, context).admitted,
          }
        }
        committed = await log.commit({
          principal,
          purpose,
          charge,
          change,
          preview,
          otherwise: otherwise && (() => askInstead(otherwise)),
          givesNothing,
          met,
          events: describeEvents(call, outcome, context),
        })
      } catch (cause) {
        // Whatever went wrong, the caller learns one thing: there is no evidence, so there is no answer.
        throw new TokenvaultError('audit_unavailable', undefined, { cause })
      }
      const { admission } = committed
      if (!admission.allowed) throw refusalOf(admission)
      const notice = noticeOf(call, request, admission)
      if (notice !== undefined) notifyApprovers?.(notice)
      if (met !== undefined && admission.approvalId === undefined) traps?.tell(met)
      return committed
    }
    const record = async (outcome: ActionOutcome = {}): Promise<CommittedAction> => {
      const committed = await commit(outcome, false)
      if ('isCounted' in committed) throw new TokenvaultError('internal', 'an action that gives something was counted')
      return committed
    }
    const recordNothing = async (outcome: ActionOutcome = {}) => void (await commit(outcome, true))
    const refuse: OpenedAction['refuse'] = async (code, detail, outcome) => {
      await recordNothing({ ...outcome, refusal: code })
      throw new TokenvaultError(code, detail)
    }
    const withhold: OpenedAction['withhold'] = async (code, outcome) => {
      await recordNothing({ ...outcome, withheld: [code] })
      throw new TokenvaultError(code)
    }

    if (needs !== undefined && !may(policy, principal.roles, needs)) return refuse('role_not_permitted')
    return { policy, record, recordNothing, refuse, withhold }
  }
}

function refusalOf(admission: Extract<Admission, { readonly allowed: false }>): TokenvaultError {
  const { code, window = 'day', retryAfterSeconds = 1, withoutApproval } = admission
  if (code === 'budget_exceeded') return new BudgetExceeded(window, retryAfterSeconds)
  return withoutApproval === undefined ? new TokenvaultError(code) : new ApprovalRequired(withoutApproval)
}

/** What approvers are told; nothing where the action made no request, or one that was open already. */
function noticeOf(
  { principal, purpose = '' }: ActionCall,
  request: RequestApproval | undefined,
  { approvalId, approvalExpiresAt = '' }: Extract<Admission, { readonly allowed: true }>,
): ApprovalNotice | undefined {
  if (request === undefined || approvalId !== request.id) return undefined
  const { issuer, subject, roles } = principal
  const { id, ticket, reveal, values, fields } = request
  return { id, issuer, subject, roles, purpose, ticket, reveal, values, fields, expiresAt: approvalExpiresAt }
}

/** Most items of one call. */
export const maxBatchItems = 10_000

/** Most entries of one page of any list. */
export const maxPageSize = 1000

/**
 * What a purpose looks like: words of lower-case letters joined by _ or -, such as fraud_investigation. It is no free
 * text and holds no digit, so that nobody writes the address or device they look for into the evidence.
 */
export const purposePattern = '^(?=.{3,64}$)[a-z]+([_-][a-z]+)*$'

/** What a ticket looks like: SEC-1234 or INC0012345. Letters and one number, so that it cannot carry a value. */
export const ticketPattern = '^[A-Za-z]{2,10}-?[0-9]{1,8}$'

/** Ids that we make: UUIDs in lower case. */
export const approvalIdPattern = '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'

const purposeShape = new RegExp(purposePattern)
const ticketShape = new RegExp(ticketPattern)
const approvalIdShape = new RegExp(approvalIdPattern)

/** @throws TokenvaultError `purpose_missing` or `purpose_invalid` */
export function checkPurpose(purpose: string): void {
  if (purpose === '') throw new TokenvaultError('purpose_missing')
  if (!purposeShape.test(purpose)) throw new TokenvaultError('purpose_invalid')
}

/** @throws TokenvaultError `ticket_invalid` */
export function checkTicket(ticket: string | undefined): void {
  if (ticket !== undefined && !ticketShape.test(ticket)) throw new TokenvaultError('ticket_invalid')
}

/** @throws TokenvaultError `approval_unknown` where the text cannot be the id of a request for approval */
export function checkApprovalId(id: string | undefined): void {
  if (id !== undefined && !approvalIdShape.test(id)) throw new TokenvaultError('approval_unknown')
}

/** @throws TokenvaultError `batch_empty` or `batch_too_large` */
export function checkBatchSize(items: number): void {
  if (items === 0) throw new TokenvaultError('batch_empty')
  if (items > maxBatchItems) throw new TokenvaultError('batch_too_large')
}
