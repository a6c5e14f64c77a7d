import { type ErrorCode, TokenvaultError } from '../../errors.ts'
import type { FieldKeys } from '../keys/field-keys.ts'
import type { Policy } from '../policy/policy.ts'
import type { ActLog, AuditEvent, Charge, CommittedAct, Effect, Principal, Ruling } from './ports.ts'
import { refusalOf } from './refusal.ts'

/** Who asked for what, and what they get if the ruling allows it. */
export interface AuditedAct {
  readonly operation: AuditEvent['type']
  readonly principal: Principal
  readonly requestId: string
  readonly purpose: string
  readonly requested: number
  /** Tokens that were given, or whose values were; repeats count as given once more. */
  readonly grantedTokens: readonly string[]
  /** Ids of quarantined entries on which the act was permitted. */
  readonly quarantined?: readonly string[]
  /** One code for each item withheld. */
  readonly withheld: readonly ErrorCode[]
  /** Why the act was refused as a whole, before any ruling. */
  readonly refusal?: ErrorCode
  readonly charge?: Charge | undefined
  readonly effect?: Effect | undefined
  readonly ticket?: string | undefined
  /** How many of `grantedTokens` were revealed in part only. */
  readonly partial?: number
  /** The request for approval that the act is about; that of the effect goes without saying. */
  readonly approval?: string | undefined
  readonly concerns?: AuditEvent['concerns']
  /** The policy that decided; the current one when absent. */
  readonly policy?: Pick<Policy, 'digest'>
}

/** An act that was ruled to be allowed, and its place in the log. */
export type RecordedAct = CommittedAct

/**
 * Has an act ruled and its evidence committed. Nothing of the act may be told to anybody before this resolves, and nothing
 * at all when it throws.
 *
 * @throws TokenvaultError `audit_unavailable`; or the code of a ruling that refuses, which is on record then
 *   (`budget_exceeded` as BudgetExceeded)
 */
export type RecordAct = (act: AuditedAct) => Promise<RecordedAct>

/** @param policy the current policy, whose digest stands in every event @returns the RecordAct of a log */
export function createRecordAct(
  log: ActLog,
  keys: FieldKeys,
  now: () => Date,
  policy: () => Pick<Policy, 'digest'>,
): RecordAct {
  return async act => {
    const { principal, purpose, charge, effect } = act
    let committed: CommittedAct
    try {
      const describe = describeAct(act, keys, now(), act.policy ?? policy())
      committed = await log.commit({ principal, purpose, charge, effect, event: describe })
    } catch (cause) {
      // Whatever went wrong, the caller learns one thing: there is no evidence, so there is no answer.
      throw new TokenvaultError('audit_unavailable', undefined, { cause })
    }
    if (!committed.ruling.allowed) throw refusalOf(committed.ruling)
    return committed
  }
}

/** All that costs time or can fail is done here, once: the log asks for the event while it holds its lock. */
function describeAct(
  act: AuditedAct,
  keys: FieldKeys,
  at: Date,
  policy: Pick<Policy, 'digest'>,
): (ruling: Ruling) => AuditEvent {
  const { effect, refusal, principal } = act
  const withheld = new Map<string, number>()
  for (const code of act.withheld) withheld.set(code, (withheld.get(code) ?? 0) + 1)
  const known = act.approval ?? (effect !== undefined && 'id' in effect ? effect.id : undefined)
  const asked = {
    type: act.operation,
    at: at.toISOString(),
    requestId: act.requestId,
    issuer: principal.issuer,
    subject: principal.subject,
    roles: principal.roles,
    purpose: act.purpose,
  }
  const given = {
    requested: act.requested,
    granted: act.grantedTokens.length + (act.quarantined?.length ?? 0),
    tokens: keys.digest.digest([...new Set(act.grantedTokens)]),
    withheld: Object.fromEntries(withheld),
    ...(act.quarantined === undefined ? {} : { quarantine: act.quarantined }),
    ...(act.partial ? { partial: act.partial } : {}),
  }
  const context = {
    ...(act.ticket === undefined ? {} : { ticket: act.ticket }),
    ...(act.concerns === undefined ? {} : { concerns: act.concerns }),
    policy: policy.digest,
  }
  return ruling => {
    if (!ruling.allowed) {
      const nothing = { requested: act.requested, granted: 0, tokens: [], withheld: {} }
      const approval = effect?.kind === 'request_approval' ? undefined : known
      return { ...asked, decision: 'refused', code: ruling.code, ...nothing, ...approvalOf(approval), ...context }
    }
    const decision = effect?.kind === 'request_approval' ? 'pending' : refusal === undefined ? 'permitted' : 'refused'
    return {
      ...asked,
      decision,
      ...(refusal === undefined ? {} : { code: refusal }),
      ...given,
      ...approvalOf(ruling.approvalId ?? known),
      ...context,
    }
  }
}

function approvalOf(approval: string | undefined) {
  return approval === undefined ? {} : { approval }
}
