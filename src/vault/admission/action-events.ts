import type { ErrorCode } from '../../errors.ts'
import type { FieldKeys } from '../keys/field-keys.ts'
import type { Policy } from '../policy/policy.ts'
import type { Action, AuditEvent, Change, Charge, Principal } from './ports.ts'

/** Who asks for what. */
export interface ActionCall {
  readonly operation: AuditEvent['type']
  readonly principal: Principal
  readonly requestId: string
  /** Absent for operations that take none. */
  readonly purpose?: string
  readonly ticket?: string | undefined
  /** How many items; one thing when absent. */
  readonly requested?: number
  /** Whom it is about. */
  readonly concerns?: AuditEvent['concerns']
}

/** What the caller gets if the action is admitted. */
export interface ActionOutcome {
  /** How many items were asked for, where that was not known before. */
  readonly requested?: number
  /** Tokens that were given, or whose values were; repeats count as given once more. */
  readonly grantedTokens?: readonly string[]
  /** Ids of quarantined entries on which the action was permitted. */
  readonly quarantined?: readonly string[]
  /** One code for each item withheld. */
  readonly withheld?: readonly ErrorCode[]
  /** Why the action is refused as a whole, whether or not it is admitted. */
  readonly refusal?: ErrorCode
  readonly charge?: Charge | undefined
  readonly change?: Change | undefined
  /** How many of `grantedTokens` were revealed in part only. */
  readonly partial?: number
  /** The request for approval that the action is about; that of the change goes without saying. */
  readonly approval?: string | undefined
  readonly concerns?: AuditEvent['concerns']
}

/**
 * The events of an action, made before it is admitted: what costs time or can fail is done here, and not while the log is locked.
 *
 * @param at when it is recorded
 * @throws RangeError where the clock does not tell the time
 */
export function describeEvents(
  call: ActionCall,
  outcome: ActionOutcome,
  { at, keys, policy }: { readonly at: Date; readonly keys: FieldKeys; readonly policy: Pick<Policy, 'digest'> },
): Action['events'] {
  const { principal, ticket } = call
  const { change, refusal, grantedTokens = [], quarantined, partial } = outcome
  const { requested = call.requested ?? 1, concerns = call.concerns } = outcome
  const asked = {
    type: call.operation,
    at: at.toISOString(),
    requestId: call.requestId,
    issuer: principal.issuer,
    subject: principal.subject,
    roles: principal.roles,
    purpose: call.purpose ?? '',
  }
  const context = {
    ...(ticket === undefined ? {} : { ticket }),
    ...(concerns === undefined ? {} : { concerns }),
    policy: policy.digest,
  }
  const isRequest = change?.kind === 'request_approval'
  const approval = outcome.approval ?? (change !== undefined && 'id' in change ? change.id : undefined)
  return {
    admitted: {
      ...asked,
      decision: isRequest ? 'pending' : refusal === undefined ? 'permitted' : 'refused',
      ...(refusal === undefined ? {} : { code: refusal }),
      requested,
      granted: grantedTokens.length + (quarantined?.length ?? 0),
      tokens: keys.digest.digest([...new Set(grantedTokens)]),
      withheld: countByCode(outcome.withheld ?? []),
      ...(quarantined === undefined ? {} : { quarantine: quarantined }),
      ...(partial ? { partial } : {}),
      ...(approval === undefined ? {} : { approval }),
      ...context,
    },
    refused: {
      ...asked,
      decision: 'refused',
      code: '',
      requested,
      granted: 0,
      tokens: [],
      withheld: {},
      // A request that was not made has no id.
      ...(approval === undefined || isRequest ? {} : { approval }),
      ...context,
    },
  }
}

function countByCode(codes: readonly ErrorCode[]): Readonly<Record<string, number>> {
  const counts = new Map<string, number>()
  for (const code of codes) counts.set(code, (counts.get(code) ?? 0) + 1)
  return Object.fromEntries(counts)
}
