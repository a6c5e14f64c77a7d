import { may } from '../policy/policy.ts'
import { maxPageSize, type OpenAction } from './open-action.ts'
import type { Approval, ApprovalReader, Principal } from './ports.ts'

export type ApprovalDecision = 'approve' | 'refuse'

/**
 * The four eyes. Who asks sees what became of his own requests; who has the capability `approve` sees all of them and
 * decides about those of others. Nobody is told a token. Every call is evidence before anything of it is told, so a
 * suspended principal is refused all of them.
 *
 * All throw TokenvaultError `principal_suspended`, `audit_unavailable`, `store_unavailable`.
 */
export interface ApprovalVerbs {
  /** Newest first; `before` is the last id of the page before. */
  list(
    principal: Principal,
    request: {
      requestId: string
      state?: Approval['state'] | undefined
      before?: string | undefined
      limit: number
    },
  ): Promise<readonly Approval[]>
  /** @throws `approval_unknown`, also where it is somebody else's and none of the roles may see it */
  show(principal: Principal, request: { requestId: string; id: string }): Promise<Approval>
  /**
   * Decides once and for all. Issuer and subject together are one person, whatever token they come with.
   * @returns the state it is in now
   * @throws `role_not_permitted`, `approval_unknown`, `approval_self`, `approval_settled`
   */
  decide(
    principal: Principal,
    request: { requestId: string; id: string; decision: ApprovalDecision },
  ): Promise<'approved' | 'refused'>
}

/** @returns the verbs; requests stand behind the port of `deps` */
export function createApprovalVerbs(deps: {
  readonly approvals: ApprovalReader
  readonly openAction: OpenAction
}): ApprovalVerbs {
  const { approvals, openAction } = deps
  return {
    async list(principal, { requestId, state, before, limit }) {
      const { policy, record, recordNothing } = await openAction({ operation: 'approval_list', principal, requestId })
      const { issuer, subject } = principal
      const requester = may(policy, principal.roles, 'approve') ? undefined : { issuer, subject }
      const page = await approvals.listApprovals({ state, before, requester, limit: Math.min(limit, maxPageSize) })
      await (page.length > 0 ? record() : recordNothing())
      return page
    },

    async show(principal, { requestId, id }) {
      const { policy, record, withhold } = await openAction({ operation: 'approval_show', principal, requestId })
      const approval = await approvals.findApproval(id)
      if (approval === undefined || !(may(policy, principal.roles, 'approve') || isOf(approval, principal)))
        return withhold('approval_unknown')
      await record({ approval: id, concerns: requesterOf(approval) })
      return approval
    },

    async decide(principal, { requestId, id, decision }) {
      const operation = `approval_${decision}` as const
      const { record } = await openAction({ operation, principal, requestId, needs: 'approve' })
      // For the evidence alone: whether the request may still be decided is found out where that is committed.
      const approval = await approvals.findApproval(id)
      await record({
        change: { kind: 'decide_approval', id, decision },
        ...(approval && { concerns: requesterOf(approval) }),
      })
      return decision === 'approve' ? 'approved' : 'refused'
    },
  }
}

function isOf(approval: Approval, { issuer, subject }: Principal): boolean {
  return approval.issuer === issuer && approval.subject === subject
}

function requesterOf({ issuer, subject }: Approval) {
  return { issuer, subject }
}
