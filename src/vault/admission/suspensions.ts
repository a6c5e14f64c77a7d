import { maxPageSize, type OpenAction } from './open-action.ts'
import type { Principal, Suspension, SuspensionReader } from './ports.ts'

/**
 * Lists principals who exceeded a daily budget, and lifts suspensions. Both take the capability `suspensions`, and both are
 * evidence before anything is told. Nobody lifts their own: who is suspended is refused this, too.
 *
 * All throw TokenvaultError `role_not_permitted`, `principal_suspended`, `audit_unavailable`, `store_unavailable`.
 */
export interface SuspensionVerbs {
  /** Those in force, newest first; `before` is the place of the last one of the page before. */
  list(
    principal: Principal,
    request: { requestId: string; before?: string | undefined; limit: number },
  ): Promise<readonly Suspension[]>
  /** Also forgets what the principal spent, so that the next call does not suspend it again. @throws `suspension_unknown` */
  lift(principal: Principal, request: { requestId: string; issuer: string; subject: string }): Promise<void>
}

/** @returns the verbs; suspensions stand behind the port of `deps` */
export function createSuspensionVerbs(deps: {
  readonly suspensions: SuspensionReader
  readonly openAction: OpenAction
}): SuspensionVerbs {
  const { suspensions, openAction } = deps
  const needs = 'suspensions'
  return {
    async list(principal, { requestId, before, limit }) {
      const { record } = await openAction({ operation: 'suspension_list', principal, requestId, needs })
      const listed = await suspensions.listSuspensions({ before, limit: Math.min(limit, maxPageSize) })
      await record()
      return listed
    },

    async lift(principal, { requestId, issuer, subject }) {
      const concerns = { issuer, subject }
      const { record } = await openAction({ operation: 'suspension_lift', principal, requestId, concerns, needs })
      await record({ change: { kind: 'lift_suspension', issuer, subject } })
    },
  }
}
