import type { Action, ActionLog, AuditEvent, CommittedAction, Principal } from '../../../src/vault/admission/ports.ts'

export function principalNamed(subject: string, issuer = 'https://issuer.test'): Principal {
  return { issuer, subject, roles: ['investigator'], channel: 'http' }
}

/** What the audit events of an action say, admitted or refused. */
export function auditEvents(
  { principal, purpose }: Pick<Action, 'principal' | 'purpose'>,
  requestId: string,
  change: Partial<AuditEvent> = {},
): Action['events'] {
  const { issuer, subject, roles, channel } = principal
  const asked = {
    format: 2,
    type: 'detokenize',
    at: '2026-01-02T03:04:05.678Z',
    requestId,
    issuer,
    subject,
    roles,
    channel,
    purpose,
  } as const
  const given = { granted: 1, tokens: ['AAAAAAAAAAAAAAAAAAAAAA'], withheld: { token_unknown: 1 } }
  const nothing = { granted: 0, tokens: [], withheld: {} }
  return {
    admitted: { ...asked, decision: 'permitted', requested: 2, ...given, ...change },
    refused: { ...asked, decision: 'refused', code: '', requested: 2, ...nothing, ...change },
  }
}

/** An action of `casey` with no charge and no change, which is plain. */
export function makeAction(
  requestId: string,
  changes: Partial<Omit<Action, 'events'>> = {},
  event: Partial<AuditEvent> = {},
): Action {
  const action = { principal: principalNamed('casey'), purpose: 'fraud_investigation', ...changes }
  return { ...action, events: auditEvents(action, requestId, event) }
}

/** Commits an action that becomes an event of its own. */
export async function commitEvent(log: ActionLog, action: Action): Promise<CommittedAction> {
  const committed = await log.commit(action)
  if ('isCounted' in committed) throw new Error('the action was counted')
  return committed
}
