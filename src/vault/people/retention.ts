import { randomUUID } from 'node:crypto'
import type { AuditEvent, RetentionEventType } from '../admission/ports.ts'
import type { FieldSchema } from '../fields/fields.ts'
import type { Retention } from '../files/retention-section.ts'

/** What a run of retention is about, worked out from the present day alone. */
export interface RetentionPlan {
  /** `2025-11`: rows of earlier months go. */
  readonly firstMonth?: string
  /** Originals of values that were seen last before these UTC days, by field in the order of the configuration. */
  readonly originals: readonly { readonly field: string; readonly before: string }[]
  /** Bodies that were quarantined before this UTC day. */
  readonly quarantinedBefore?: string
  /** Requests that were decided, or ran out, before this UTC day. */
  readonly approvalsBefore?: string
}

/** @param fields those that are configured @param today whatever the time of day */
export function planRetention(retention: Retention, fields: FieldSchema, today: Date): RetentionPlan {
  const before = (days: number) => new Date(today.getTime() - days * 86_400_000).toISOString().slice(0, 10)
  const { logins, originals, quarantineDays, approvalDays } = retention
  return {
    ...(logins === undefined ? {} : { firstMonth: monthsBack(today, logins.months) }),
    originals: [...fields.keys()].flatMap(field => {
      const days = originals.get(field)
      return days === undefined ? [] : [{ field, before: before(days) }]
    }),
    ...(quarantineDays === undefined ? {} : { quarantinedBefore: before(quarantineDays) }),
    ...(approvalDays === undefined ? {} : { approvalsBefore: before(approvalDays) }),
  }
}

function monthsBack(today: Date, months: number): string {
  return new Date(Date.UTC(today.getUTCFullYear(), today.getUTCMonth() - months, 1)).toISOString().slice(0, 7)
}

/**
 * The event of what retention removed: one in each transaction that removes something.
 *
 * @param done.login the database role that logged in
 * @param done.field of originals
 * @param done.month of rows, `2025-11`
 */
export function describeRetentionEvent(
  type: RetentionEventType,
  count: number,
  done: { readonly login: string; readonly at: Date; readonly field?: string; readonly month?: string },
): AuditEvent {
  const { login, at, field, month } = done
  return {
    ...{ format: 2, type, at: at.toISOString(), requestId: randomUUID(), issuer: 'postgres', subject: login },
    ...{ roles: [], channel: 'cli', purpose: '', decision: 'permitted', requested: count, granted: count },
    ...(field === undefined ? {} : { fields: { [field]: { requested: count, granted: count, level: 'none' } } }),
    tokens: [],
    withheld: {},
    ...(month === undefined ? {} : { months: [month] }),
  }
}
