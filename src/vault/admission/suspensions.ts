import { TokenvaultError } from '../../errors.ts'
import { may, type Policy } from '../policy/policy.ts'
import type { Principal, Suspension, SuspensionReader } from './ports.ts'
import type { AuditedAct, RecordAct } from './record-action.ts'

/** Most suspensions of one list. */
export const maxSuspensions = 1000

/**
 * Who used up a daily budget, and giving them back what they may do. Both take the capability `suspensions`, and both are
 * evidence before anything is told. Nobody lifts their own: who is suspended is refused this, too.
 *
 * All throw TokenvaultError `role_not_permitted`, `principal_suspended`, `audit_unavailable`, `store_unavailable`.
 */
export interface SuspensionVerbs {
  /** Those in force, oldest first. */
  list(principal: Principal, request: { requestId: string; limit: number }): Promise<readonly Suspension[]>
  /** Also forgets what the principal spent, so that the next call does not suspend it again. @throws `suspension_unknown` */
  lift(principal: Principal, request: { requestId: string; issuer: string; subject: string }): Promise<void>
}

export interface SuspensionDependencies {
  readonly suspensions: SuspensionReader
  readonly recordAct: RecordAct
  /** The current policy. */
  readonly policy: () => Policy
}

/** @returns the verbs; suspensions and audit log stand behind the ports of `deps` */
export function createSuspensionVerbs({ suspensions, recordAct, policy }: SuspensionDependencies): SuspensionVerbs {
  const authorize = async (
    operation: 'suspension_list' | 'suspension_lift',
    principal: Principal,
    requestId: string,
    about: Pick<AuditedAct, 'concerns'> = {},
  ) => {
    const decided = policy()
    const act: AuditedAct = {
      ...{ operation, principal, requestId, purpose: '', policy: decided, requested: 1 },
      ...{ grantedTokens: [], withheld: [], ...about },
    }
    if (may(decided, principal.roles, 'suspensions')) return act
    await recordAct({ ...act, refusal: 'role_not_permitted' })
    throw new TokenvaultError('role_not_permitted')
  }

  return {
    async list(principal, { requestId, limit }) {
      const act = await authorize('suspension_list', principal, requestId)
      const listed = await suspensions.listSuspensions(Math.min(limit, maxSuspensions))
      await recordAct(act)
      return listed
    },

    async lift(principal, { requestId, issuer, subject }) {
      const act = await authorize('suspension_lift', principal, requestId, { concerns: { issuer, subject } })
      await recordAct({ ...act, effect: { kind: 'lift_suspension', issuer, subject } })
    },
  }
}
