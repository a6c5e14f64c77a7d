import type { Act, AuditEvent, Principal, Ruling } from '../../../src/vault/admission/ports.ts'

export function principalNamed(subject: string, issuer = 'https://issuer.test'): Principal {
  return { issuer, subject, roles: ['investigator'] }
}

/** What the audit event of an act says under a ruling. */
export function auditEvent(act: Pick<Act, 'principal' | 'purpose'>, requestId: string, ruling: Ruling): AuditEvent {
  const { issuer, subject, roles } = act.principal
  return {
    type: 'detokenize',
    at: '2026-01-02T03:04:05.678Z',
    requestId,
    issuer,
    subject,
    roles,
    purpose: act.purpose,
    ...(ruling.allowed ? { decision: 'permitted' } : { decision: 'refused', code: ruling.code }),
    requested: 2,
    granted: ruling.allowed ? 1 : 0,
    tokens: ruling.allowed ? ['AAAAAAAAAAAAAAAAAAAAAA'] : [],
    withheld: ruling.allowed ? { token_unknown: 1 } : {},
  }
}

/** An act of `casey` with no charge and no effect, which is plainly allowed. */
export function makeAct(
  requestId: string,
  changes: Partial<Omit<Act, 'event'>> = {},
  event: Partial<AuditEvent> = {},
): Act {
  const act = { principal: principalNamed('casey'), purpose: 'fraud_investigation', ...changes }
  return { ...act, event: ruling => ({ ...auditEvent(act, requestId, ruling), ...event }) }
}
