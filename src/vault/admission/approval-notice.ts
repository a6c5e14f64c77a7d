import type { Approval } from './ports.ts'
import type { RecordAct } from './record-action.ts'

/** What approvers are told of a new request: who asks, why and for how much, and nothing that names a token. */
export interface ApprovalNotice
  extends Pick<
    Approval,
    'id' | 'issuer' | 'subject' | 'roles' | 'purpose' | 'ticket' | 'reveal' | 'values' | 'fields'
  > {
  /** When the request runs out: RFC 3339, UTC. */
  readonly expiresAt: string
}

/** Tells approvers, some time later. Never throws and never waits. */
export type NotifyApprovers = (notice: ApprovalNotice) => void

/**
 * Has approvers told of every request for approval, once it is committed. A request that was open already is not told again.
 *
 * @returns a RecordAct that does what the given one does
 */
export function notifyingApprovers(recordAct: RecordAct, notifyApprovers: NotifyApprovers): RecordAct {
  return async act => {
    const recorded = await recordAct(act)
    const { effect, purpose, principal } = act
    const { ruling } = recorded
    if (effect?.kind !== 'request_approval' || !ruling.allowed || ruling.approvalId !== effect.id) return recorded
    const { issuer, subject, roles } = principal
    const { id, ticket, reveal, values, fields } = effect
    const expiresAt = ruling.approvalExpiresAt ?? ''
    notifyApprovers({ id, issuer, subject, roles, purpose, ticket, reveal, values, fields, expiresAt })
    return recorded
  }
}
