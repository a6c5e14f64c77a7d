import { sql } from 'kysely'
import type { Ledger, Unmatched } from '../vault/ledger/ports.ts'
import { namingFailures, type TokenvaultDatabase } from './postgres/database.ts'

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
  }
}
