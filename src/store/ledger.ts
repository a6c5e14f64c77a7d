import { sql } from 'kysely'
import { derivedFields, eventFields } from '../vault/fields/fields.ts'
import type { ColumnCounts, DayCounts, Ledger, Unmatched } from '../vault/ledger/ports.ts'
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
  readonly details_recorded: string
  readonly details_stored: string
  readonly quarantine_recorded: string
  readonly quarantine_stored: string
  readonly rows_erased: string
  readonly details_erased: string
  readonly rows_dropped: string
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
            const inEvents = eventFields(fields)
            const unmatched = await sql<UnmatchedRow>`
              select * from pii_vault.reconcile_tokens(${inEvents.map(({ name }) => name)}::text[],
                ${inEvents.map(({ column }) => column)}::text[])`.execute(snapshot)
            const derived = derivedFields(fields).map(({ name }) => name)
            const networks = await readNetworks(snapshot, derived)
            return {
              days: days.rows.map(row => ({
                day: row.day,
                isProvable: row.is_provable,
                deliveryRecords: Number(row.delivery_records),
                rows: { recorded: Number(row.rows_recorded), stored: Number(row.rows_stored) },
                ...readDetails(row),
                quarantined: { recorded: Number(row.quarantine_recorded), stored: Number(row.quarantine_stored) },
                ...readErased(row),
              })),
              // No token of a derived field stands in user_logins.
              unmatched: [...unmatched.rows.filter(({ field }) => !derived.includes(field)), ...networks].map(
                ({ tokens, ...row }) => ({
                  ...row,
                  count: Number(tokens),
                }),
              ),
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

/** Tokens of derived fields stand in analyst.ip_networks. */
async function readNetworks(
  snapshot: TokenvaultDatabase,
  derived: readonly string[],
): Promise<readonly UnmatchedRow[]> {
  if (derived.length === 0) return []
  const { rows } = await sql<UnmatchedRow>`
    select * from pii_vault.reconcile_networks(${derived}::text[])`.execute(snapshot)
  return rows
}

function readDetails(row: DayRow): Pick<DayCounts, 'details'> {
  const details = { recorded: Number(row.details_recorded), stored: Number(row.details_stored) }
  return details.recorded === 0 && details.stored === 0 ? {} : { details }
}

function readErased(row: DayRow): Pick<DayCounts, 'erased' | 'dropped'> {
  const erased = { rows: Number(row.rows_erased), details: Number(row.details_erased) }
  const dropped = Number(row.rows_dropped)
  return { ...(erased.rows + erased.details > 0 && { erased }), ...(dropped > 0 && { dropped }) }
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
