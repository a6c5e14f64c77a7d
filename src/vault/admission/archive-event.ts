import type { KeyAdministrator } from './key-event.ts'
import type { ArchiveEventType, AuditEvent } from './ports.ts'

/**
 * The event of whole months of rows that left the database or came back.
 *
 * @param done.months `2025-11`
 * @param done.rows of public.user_logins
 * @throws RangeError where the clock does not tell the time
 */
export function describeArchiveEvent(
  type: ArchiveEventType,
  done: {
    readonly administrator: KeyAdministrator
    readonly at: Date
    readonly requestId: string
    readonly months: readonly string[]
    readonly rows: number
  },
): AuditEvent {
  const { administrator, at, requestId, months, rows } = done
  return {
    format: 2,
    type,
    at: at.toISOString(),
    requestId,
    issuer: 'postgres',
    subject: administrator.login,
    roles: [],
    channel: 'cli',
    purpose: '',
    decision: 'permitted',
    requested: rows,
    granted: rows,
    tokens: [],
    withheld: {},
    months,
  }
}
