import { type ErrorCode, TokenvaultError } from '../../errors.ts'
import { may, type Policy } from '../policy/policy.ts'
import type { Approval, ApprovalReader, AuditEvent, Principal } from './ports.ts'
import type { AuditedAct, RecordAct, RecordedAct } from './record-action.ts'

/** Most requests of one page. */
export const maxApprovalPage = 1000

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
   * Decides once and for all. A subject is one person, whatever issuer or token it comes with.
   * @returns the state it is in now
   * @throws `role_not_permitted`, `approval_unknown`, `approval_self`, `approval_settled`
   */
  decide(
    principal: Principal,
    request: { requestId: string; id: string; decision: ApprovalDecision },
  ): Promise<'approved' | 'refused'>
}

export interface ApprovalDependencies {
  readonly approvals: ApprovalReader
  readonly recordAct: RecordAct
  /** The current policy. */
  readonly policy: () => Policy
}

type ApprovalAct = Extract<AuditEvent['type'], `approval_${string}`>

/** @returns the verbs; requests and audit log stand behind the ports of `deps` */
export function createApprovalVerbs({ approvals, recordAct, policy }: ApprovalDependencies): ApprovalVerbs {
  const open = (operation: ApprovalAct, principal: Principal, requestId: string) => {
    const decided = policy()
    const record = (rest: Partial<AuditedAct> = {}): Promise<RecordedAct> =>
      recordAct({
        ...{ operation, principal, requestId, purpose: '', policy: decided, requested: 1 },
        ...{ grantedTokens: [], withheld: [], ...rest },
      })
    return { record, mayApprove: may(decided, principal.roles, 'approve') }
  }

  return {
    async list(principal, { requestId, state, before, limit }) {
      const { record, mayApprove } = open('approval_list', principal, requestId)
      const { issuer, subject } = principal
      const requester = mayApprove ? undefined : { issuer, subject }
      const page = await approvals.listApprovals({ state, before, requester, limit: Math.min(limit, maxApprovalPage) })
      await record()
      return page
    },

    async show(principal, { requestId, id }) {
      const { record, mayApprove } = open('approval_show', principal, requestId)
      const approval = await approvals.findApproval(id)
      if (approval === undefined || !(mayApprove || isOf(approval, principal))) {
        const code: ErrorCode = 'approval_unknown'
        await record({ withheld: [code] })
        throw new TokenvaultError(code)
      }
      await record({ approval: id, concerns: requesterOf(approval) })
      return approval
    },

    async decide(principal, { requestId, id, decision }) {
      const { record, mayApprove } = open(`approval_${decision}`, principal, requestId)
      if (!mayApprove) {
        await record({ refusal: 'role_not_permitted' })
        throw new TokenvaultError('role_not_permitted')
      }
      // For the evidence alone: whether the request may still be decided is ruled where that is committed.
      const approval = await approvals.findApproval(id)
      await record({
        effect: { kind: 'decide_approval', id, decision },
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
