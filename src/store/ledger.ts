import { sql } from 'kysely'
import type { ColumnCounts, Ledger, Unmatched } from '../vault/ledger/ports.ts'
import { countColumn } from './columns/count.ts'
import { readTokenColumns } from './columns/registry.ts'
import { namingFailures, type TokenvaultDatabase } from './postgres/database.ts'
import { classifyFailure } from './postgres/failures.ts'

/** Counts come as bigint, which pg gives as text. */
interface DayRow {
  readonly day: string | null
  readonly is_provable: boolean
  readonly delivery_records: string
  readonly rows_recorded: string
  readonly rows_stored: string
  readonly quarantine_recorded: string
  readonly quarantine_stored: string
}

interface UnmatchedRow {
  readonly finding: Unmatched['finding']
  readonly field: string
  readonly day: string | null
  readonly tokens: string
}

/** The ledger as `tokenvault_auditor` may read it: by functions that give counts and nothing else. */
export function createLedger(database: TokenvaultDatabase): Ledger {
  return {
    readTimeline: () => namingFailures(() => readTimeline(database)),
    readCounts: fields =>
      namingFailures(() =>
        database
          .transaction()
          .setIsolationLevel('repeatable read')
          .setAccessMode('read only')
          .execute(async snapshot => {
            const days = await sql<DayRow>`select * from pii_vault.reconcile_days()`.execute(snapshot)
            const columns = [...fields.values()].map(({ column }) => column)
            const unmatched = await sql<UnmatchedRow>`
              select * from pii_vault.reconcile_tokens(${[...fields.keys()]}::text[], ${columns}::text[])`.execute(
              snapshot,
            )
            return {
              days: days.rows.map(row => ({
                day: row.day,
                isProvable: row.is_provable,
                deliveryRecords: Number(row.delivery_records),
                rows: { recorded: Number(row.rows_recorded), stored: Number(row.rows_stored) },
                quarantined: { recorded: Number(row.quarantine_recorded), stored: Number(row.quarantine_stored) },
              })),
              unmatched: unmatched.rows.map(({ tokens, ...row }) => ({ ...row, count: Number(tokens) })),
            }
          }),
      ),
    readColumns: () =>
      namingFailures(async () => {
        const counts: ColumnCounts[] = []
        for (const column of await readTokenColumns(database)) counts.push(await countColumn(database, column))
        return counts
      }),
  }
}

async function readTimeline(database: TokenvaultDatabase): Promise<number | undefined> {
  try {
    const { rows } = await sql<{ timeline: number }>`
      select case when pg_is_in_recovery() then (select timeline_id from pg_control_checkpoint())
        else ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int end as timeline`.execute(database)
    return rows[0]!.timeline
  } catch (error) {
    // Servers that keep no write-ahead log of their own, or do not show it, refuse these functions.
    if (classifyFailure(error).kind === 'permanent') return undefined
    throw error
  }
}
