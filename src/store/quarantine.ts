import { type RawBuilder, sql } from 'kysely'
import type { QuarantineEntry, QuarantineState, QuarantineStore } from '../vault/quarantine/ports.ts'
import { namingFailures, retryingConflicts, type TokenvaultDatabase } from './postgres/database.ts'

/** A sealed body is 16 bytes (its SIV) longer than the body. */
const sealOverheadBytes = 16

interface EntryRow {
  readonly id: string
  readonly state: QuarantineState
  readonly reason: string
  readonly message_id: string
  readonly event_index: number
  readonly sent_on: string
  readonly sealed_bytes: number | null
  readonly redrives: number
  readonly created_at: Date
  readonly changed_at: Date
}

const entryColumns = sql`replace(id::text, '-', '') as id, state, reason, message_id, event_index, sent_on,
  octet_length(sealed) as sealed_bytes, redrives, created_at, changed_at`

/** The quarantine as the API's role may use it. Bodies are read one at a time, and never written. */
export function createQuarantineStore(database: TokenvaultDatabase): QuarantineStore {
  return {
    listEntries: ({ state, reason }, { limit, before }) =>
      namingFailures(async () => {
        const { rows } = await sql<EntryRow>`
          select ${entryColumns} from pii_vault.quarantine
          where state = ${state} ${withReason(reason)} ${olderThan(before)}
          order by created_at desc, quarantine.id desc limit ${limit}`.execute(database)
        return rows.map(toEntry)
      }),

    findEntry: id =>
      namingFailures(async () => {
        const { rows } = await sql<EntryRow & { data_key_version: number; sealed: Buffer | null }>`
          select ${entryColumns}, data_key_version, sealed from pii_vault.quarantine where id = ${id}::uuid`.execute(
          database,
        )
        const row = rows[0]
        if (row === undefined) return undefined
        const { sealed, data_key_version: dataKeyVersion } = row
        return { entry: toEntry(row), body: sealed === null ? null : { id: row.id, dataKeyVersion, sealed } }
      }),

    findIds: ({ state, reason }, { limit, before }) =>
      namingFailures(async () => {
        const { rows } = await sql<{ id: string }>`
          select replace(id::text, '-', '') as id from pii_vault.quarantine
          where state = ${state} ${withReason(reason)} ${olderThan(before)}
          order by created_at desc, quarantine.id desc limit ${limit}`.execute(database)
        return rows.map(({ id }) => id)
      }),

    requestRedrive: ids => change(database, sql`pii_vault.request_redrive(${ids}::uuid[])`),
    discard: ids => change(database, sql`pii_vault.discard_quarantined(${ids}::uuid[])`),
  }
}

function withReason(reason: string | undefined): RawBuilder<unknown> {
  return reason === undefined ? sql`` : sql`and reason = ${reason}`
}

/** Rows are never removed, so the last of one page finds the next, whatever became of it in between. */
function olderThan(before: string | undefined): RawBuilder<unknown> {
  if (before === undefined) return sql``
  return sql`and (created_at, quarantine.id) <
    (select last.created_at, last.id from pii_vault.quarantine as last where last.id = ${before}::uuid)`
}

function change(database: TokenvaultDatabase, call: RawBuilder<unknown>): Promise<string[]> {
  return namingFailures(async () => {
    const statement = sql<{ id: string }>`
      select replace(changed::text, '-', '') as id from ${call} as changed`
    const { rows } = await retryingConflicts(() => statement.execute(database))
    return rows.map(({ id }) => id)
  })
}

function toEntry(row: EntryRow): QuarantineEntry {
  return {
    id: row.id,
    state: row.state,
    reason: row.reason,
    messageId: row.message_id,
    eventIndex: row.event_index,
    sentOn: row.sent_on,
    bodyBytes: row.sealed_bytes === null ? null : row.sealed_bytes - sealOverheadBytes,
    redrives: row.redrives,
    createdAt: row.created_at.toISOString(),
    changedAt: row.changed_at.toISOString(),
  }
}
