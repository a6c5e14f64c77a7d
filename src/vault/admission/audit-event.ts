import { createHash } from 'node:crypto'
import type { ErrorCode } from '../../errors.ts'
import type { FieldKeys } from '../keys/field-keys.ts'
import type { Capability, Policy } from '../policy/policy.ts'
import type { Action, AuditEvent, Change, Charge, FieldCounts, PreviewedCall, Principal } from './ports.ts'

/** Who asks for what. */
export type ActionCall = {
  readonly principal: Principal
  readonly requestId: string
  readonly ticket?: string | undefined
  /** How many items; one thing when absent. */
  readonly requested?: number
  /** Whom it is about. */
  readonly concerns?: AuditEvent['concerns']
  /** Keyed digest of the user id of the person whom it is about; see digestPerson. */
  readonly person?: string | undefined
  /** A capability that one of the principal's roles must have. */
  readonly needs?: Capability
} & (
  | {
      readonly operation: RevealingOperation
      readonly purpose: string
      readonly mode?: AuditEvent['mode']
      readonly scheme?: AuditEvent['scheme']
    }
  | {
      readonly operation: Exclude<AuditEvent['type'], RevealingOperation>
      readonly purpose?: never
      readonly mode?: never
      readonly scheme?: never
    }
)

/** The change with which a second person is asked. */
export type RequestApproval = Extract<Change, { readonly kind: 'request_approval' }>

/** Operations that reveal something about values take a purpose; no other operation does. */
type RevealingOperation =
  | 'detokenize'
  | 'tokenize'
  | 'crosswalk'
  | 'translate'
  | 'quarantine_open'
  | 'audit_search'
  | 'person_export'

/** What the caller gets if the action is admitted. */
export interface ActionOutcome {
  /** How many items were asked for, where that was not known before. */
  readonly requested?: number
  /** The items by configured field, where the action is about fields; what is not given is recorded as not granted. */
  readonly fields?: ReadonlyMap<string, FieldCounts> | undefined
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
  /** The call of which the action is a preview. */
  readonly preview?: PreviewedCall | undefined
  /** Makes the request for approval that takes the place of the action where an allowance of the charge does not hold it. */
  readonly otherwise?: (() => RequestApproval) | undefined
  /** How many of `grantedTokens` were revealed in part only. */
  readonly partial?: number
  /** The request for approval that the action is about; absent where the change names it. */
  readonly approval?: string | undefined
  readonly concerns?: AuditEvent['concerns']
  /** Where only the policy tells it; that of the call otherwise. */
  readonly mode?: AuditEvent['mode']
  readonly sought?: AuditEvent['sought']
}

/**
 * The events of an action, made before it is admitted: what costs time or can fail is done here, and not while the log is
 * locked. Which members they have, and in which order, is the format of the log.
 *
 * @throws RangeError where the clock does not tell the time
 */
export function describeEvents(
  call: ActionCall,
  outcome: ActionOutcome,
  { at, keys, policy }: { readonly at: Date; readonly keys: FieldKeys; readonly policy: Pick<Policy, 'digest'> },
): Action['events'] {
  const { principal, ticket } = call
  const { change, refusal, fields, grantedTokens = [], quarantined, partial } = outcome
  const { requested = call.requested ?? 1, concerns = call.concerns } = outcome
  const { client, actor, jwtId, channel } = principal
  const asked = {
    format: 2,
    type: call.operation,
    at: at.toISOString(),
    requestId: call.requestId,
    issuer: principal.issuer,
    subject: principal.subject,
    roles: principal.roles,
    ...(client === undefined ? {} : { client }),
    ...(actor === undefined ? {} : { actor }),
    ...(jwtId === undefined ? {} : { jwt: digestJwtId(keys, jwtId) }),
    channel,
    purpose: call.purpose ?? '',
  } as const
  const { mode = call.mode } = outcome
  const how = {
    ...(mode === undefined ? {} : { mode }),
    ...(call.scheme === undefined ? {} : { scheme: call.scheme }),
  }
  const context = {
    ...(ticket === undefined ? {} : { ticket }),
    ...(concerns === undefined ? {} : { concerns }),
    ...(call.person === undefined ? {} : { person: call.person }),
    ...(outcome.sought === undefined ? {} : { sought: outcome.sought }),
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
      ...describeFields(fields, { areGranted: !isRequest && refusal === undefined }),
      tokens: keys.digest.digest([...new Set(grantedTokens)]),
      withheld: countByCode(outcome.withheld ?? []),
      ...how,
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
      ...describeFields(fields, { areGranted: false }),
      tokens: [],
      withheld: {},
      ...how,
      // A request that was not made has no id.
      ...(approval === undefined || isRequest ? {} : { approval }),
      ...context,
    },
  }
}

/** Names of fields are those of the configuration; Object.fromEntries makes an own property of any of them. */
function describeFields(fields: ActionOutcome['fields'], { areGranted }: { readonly areGranted: boolean }) {
  if (fields === undefined) return {}
  const counts = [...fields].map(([field, { requested, granted, level }]) => {
    return [field, { requested, granted: areGranted ? granted : 0, level }] as const
  })
  return { fields: Object.fromEntries(counts) }
}

/**
 * By which events of one JWT are known as such, and its issuer finds them in its own records with the help of whoever holds the
 * audit key. Hashed first, as the id may be long. A token never begins so, nor does what is digested of an approval.
 *
 * @returns 22 letters of base64url
 */
function digestJwtId(keys: FieldKeys, jwtId: string): string {
  const hash = createHash('sha256').update(jwtId).digest('hex')
  return keys.digest.digest([`tokenvault jwt v1 ${hash}`])[0]!
}

function countByCode(codes: readonly ErrorCode[]): Readonly<Record<string, number>> {
  const counts = new Map<string, number>()
  for (const code of codes) counts.set(code, (counts.get(code) ?? 0) + 1)
  return Object.fromEntries(counts)
}
