import { type Capability, may, type Policy } from '../policy/policy.ts'
import type { Principal, SuspensionReader } from './ports.ts'

/**
 * Whether an action that needs the capability gets past what is checked of every such action: that one of the principal's
 * roles has it, and that the principal is not suspended. It admits nothing and records nothing: it is for whoever must know
 * before the action is opened whether the verb would refuse it. @throws TokenvaultError `store_unavailable`
 */
export type IsAdmissible = (principal: Principal, needs: Capability) => Promise<boolean>

/** @param deps.policy the current policy */
export function createIsAdmissible(deps: {
  readonly policy: () => Policy
  readonly suspensions: SuspensionReader
}): IsAdmissible {
  return async (principal, needs) =>
    may(deps.policy(), principal.roles, needs) && !(await deps.suspensions.isSuspended(principal))
}
