import { type ErrorCode, TokenvaultError } from '../errors.ts'
import type { FieldKeys } from './field-keys.ts'
import type { AuditEvent, AuditLog, Principal } from './ports.ts'

/** Who asked for what, and what they got. */
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
  /** Why the act was refused as a whole. */
  readonly refusal?: ErrorCode
}

/** Commits the evidence of an act. Nothing of the act may be told to anybody before this resolves. */
export type RecordAct = (act: AuditedAct) => Promise<void>

/** @returns a RecordAct that throws TokenvaultError `audit_unavailable` unless the event is committed */
export function createRecordAct(log: AuditLog, keys: FieldKeys, now: () => Date): RecordAct {
  return async act => {
    const withheld = new Map<string, number>()
    for (const code of act.withheld) withheld.set(code, (withheld.get(code) ?? 0) + 1)
    try {
      await log.append({
        type: act.operation,
        at: now().toISOString(),
        requestId: act.requestId,
        issuer: act.principal.issuer,
        subject: act.principal.subject,
        roles: act.principal.roles,
        purpose: act.purpose,
        decision: act.refusal === undefined ? 'permitted' : 'refused',
        ...(act.refusal === undefined ? {} : { code: act.refusal }),
        requested: act.requested,
        granted: act.grantedTokens.length + (act.quarantined?.length ?? 0),
        tokens: keys.digest.digest([...new Set(act.grantedTokens)]),
        withheld: Object.fromEntries(withheld),
        ...(act.quarantined === undefined ? {} : { quarantine: act.quarantined }),
      })
    } catch (cause) {
      // Whatever went wrong, the caller learns one thing: there is no evidence, so there is no answer.
      throw new TokenvaultError('audit_unavailable', undefined, { cause })
    }
  }
}
