import { sql } from 'kysely'
import type { AuditEvent } from '../../vault/admission/ports.ts'
import { inTransaction, namingFailures, type TokenvaultDatabase } from '../postgres/database.ts'
import { appendEvent } from './transaction.ts'

/** What is removed so many at a time, oldest first. */
const batch = 1000

/** Quarantined bodies and requests of callers, for who removes old ones, with the owner's right. */
export interface AgedStore {
  /** Bodies that were quarantined before the UTC day. @throws `store_unavailable` */
  countQuarantined(before: string): Promise<number>
  /** Requests for approval that were decided, or ran out, before the UTC day. @throws `store_unavailable` */
  countApprovals(before: string): Promise<number>
  /** Erases the bodies of some. @param describe the event of so many @returns how many; 0 once there is none left */
  eraseQuarantined(before: string, describe: (count: number) => AuditEvent): Promise<number>
  /** Deletes some. @param describe the event of so many @returns how many; 0 once there is none left */
  deleteApprovals(before: string, describe: (count: number) => AuditEvent): Promise<number>
  /** Deletes what counts for nothing any more: replies kept for repeats, and what was spent in windows that are over. */
  deleteOver(): Promise<void>
}

/** @param database a connection that may act as tokenvault_owner */
export function createAgedStore(database: TokenvaultDatabase): AgedStore {
  const count = (from: ReturnType<typeof sql>) =>
    namingFailures(async () => {
      const { rows } = await sql<{ count: string }>`select count(*) as count from ${from}`.execute(database)
      return Number(rows[0]!.count)
    })
  const remove = (statement: ReturnType<typeof sql>, describe: (count: number) => AuditEvent) =>
    namingFailures(() =>
      inTransaction(database, async transaction => {
        await sql`set local role tokenvault_owner`.execute(transaction)
        const removed = (await statement.execute(transaction)).rows.length
        if (removed > 0) await appendEvent(transaction, describe(removed))
        return removed
      }),
    )
  return {
    countQuarantined: before => count(quarantined(before)),
    countApprovals: before => count(approvals(before)),
    eraseQuarantined: (before, describe) =>
      remove(
        sql`select discarded from pii_vault.discard_quarantined(array(
          select id from ${quarantined(before)} order by created_at limit ${batch})) as discarded`,
        describe,
      ),
    deleteApprovals: (before, describe) =>
      remove(
        sql`delete from pii_vault.approvals where id in (
          select id from ${approvals(before)} order by expires_at limit ${batch} for update skip locked) returning id`,
        describe,
      ),
    deleteOver: () =>
      namingFailures(() =>
        inTransaction(database, async transaction => {
          await sql`set local role tokenvault_owner`.execute(transaction)
          // The times are those after which the functions of admission and idempotency remove them in passing.
          for (const over of [
            sql`pii_vault.idempotency where created_at <= now() - interval '24 hours'`,
            sql`pii_vault.spending where slot <= now() - case slot_seconds when 10 then interval '70 seconds' else interval '25 hours' end`,
            sql`pii_vault.taken_without_approval where slot <= now() - interval '7 days 10 minutes'`,
          ])
            await sql`delete from ${over}`.execute(transaction)
        }),
      ),
  }
}

/** What an operator asked to try again is not old. */
function quarantined(before: string) {
  return sql`pii_vault.quarantine where state = 'quarantined' and created_at < (${before}::date at time zone 'UTC')`
}

function approvals(before: string) {
  return sql`pii_vault.approvals where coalesce(decided_at, expires_at) < (${before}::date at time zone 'UTC')
    and expires_at < (${before}::date at time zone 'UTC')`
}
