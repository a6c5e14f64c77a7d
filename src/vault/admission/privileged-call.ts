import { TokenvaultError } from '../../errors.ts'
import { limitsOf, may, type Policy } from '../policy/policy.ts'
import type { AuditEvent, Charge, Principal } from './ports.ts'
import type { AuditedAct, RecordAct, RecordedAct } from './record-action.ts'

/** Every way to read the evidence passes here: only who has the capability `audit` may, and each call is evidence itself. */
export interface AuditAccessDependencies {
  readonly policy: () => Policy
  readonly recordAct: RecordAct
}

/** One call, and who makes it. */
export interface AuditCall {
  readonly operation: Extract<AuditEvent['type'], `audit_${string}`>
  readonly principal: Principal
  readonly requestId: string
  /** '' for calls that take none. */
  readonly purpose: string
}

/**
 * Runs a permitted reading of the evidence and commits that it took place before anything of it is told. What is asked
 * for and not there is on record as withheld.
 *
 * @param read tells what it found, the tokens that it looked for, and how many values those say something about
 * @throws TokenvaultError `role_not_permitted`, `budget_exceeded`, `principal_suspended`, `audit_unavailable`; whatever `read` throws
 */
export async function readEvidence<T>(
  { policy, recordAct }: AuditAccessDependencies,
  call: AuditCall,
  read: () => Promise<{ readonly found: T; readonly sought?: readonly string[]; readonly values?: number }>,
): Promise<T> {
  const decided = policy()
  const record = (rest: Pick<AuditedAct, 'grantedTokens' | 'withheld' | 'refusal' | 'charge'>): Promise<RecordedAct> =>
    recordAct({ ...call, requested: 1, policy: decided, ...rest })
  if (!may(decided, call.principal.roles, 'audit')) {
    await record({ grantedTokens: [], withheld: [], refusal: 'role_not_permitted' })
    throw new TokenvaultError('role_not_permitted')
  }
  try {
    const { found, sought = [], values = 0 } = await read()
    await record({ grantedTokens: sought, withheld: [], charge: chargeOf(decided, call.principal, values) })
    return found
  } catch (error) {
    if (error instanceof TokenvaultError && error.code === 'audit_event_unknown')
      await record({ grantedTokens: [], withheld: [error.code] })
    throw error
  }
}

/** Against the budget of the roles that make an auditor of the caller. */
function chargeOf(policy: Policy, { roles }: Principal, values: number): Charge | undefined {
  if (values === 0) return undefined
  const auditing = roles.filter(role => may(policy, [role], 'audit'))
  const { perMinute, perDay } = limitsOf(policy, auditing)
  return { values, perMinute, perDay }
}
