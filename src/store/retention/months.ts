import { sql } from 'kysely'
import type { AuditEvent } from '../../vault/admission/ports.ts'
import { dropMonth, inMonth, lockMonth, monthTables } from '../months.ts'
import { textArray } from '../postgres/array-literal.ts'
import { inTransaction, namingFailures, type TokenvaultDatabase } from '../postgres/database.ts'
import type { TokenPlace } from './originals.ts'
import { appendEvent, patiently, waitBriefly } from './transaction.ts'

/** What is read, or deleted around people who are held, at a time. */
const batch = 10_000

/** Months of rows for who drops old ones, with the owner's right. */
export interface MonthStore {
  /** Rows of public.user_logins. @throws `store_unavailable` */
  countRows(month: string): Promise<number>
  /** Distinct user ids of rows in a month, or of all rows; so many at a time. @throws `store_unavailable` */
  readUsers(month?: string): AsyncGenerator<readonly string[]>
  /** Notes of every token in rows of the month that its original was seen then. @throws `store_unavailable` */
  noteSeen(month: string, field: string, place: TokenPlace, format: string): Promise<void>
  /** Drops all rows of the month. @param describe the event of so many @throws `store_unavailable` */
  drop(month: string, describe: (rows: number) => AuditEvent): Promise<number>
  /** Deletes some rows of the month, but those of these people. @returns how many; 0 once there is none left */
  deleteOthers(month: string, held: readonly string[], describe: (rows: number) => AuditEvent): Promise<number>
}

/** @param database a connection that may act as tokenvault_owner */
export function createMonthStore(database: TokenvaultDatabase): MonthStore {
  const change = (work: (transaction: TokenvaultDatabase) => Promise<number>) =>
    namingFailures(() =>
      patiently(() =>
        inTransaction(database, async transaction => {
          await sql`set local role tokenvault_owner`.execute(transaction)
          await waitBriefly(transaction)
          return work(transaction)
        }),
      ),
    )
  const countRows = async (month: string, transaction = database) => {
    const { rows } = await sql<{ count: string }>`
      select count(*) as count from public.user_logins where ${inMonth(month)}`.execute(transaction)
    return Number(rows[0]!.count)
  }
  return {
    countRows: month => namingFailures(() => countRows(month)),

    async *readUsers(month) {
      const where = month === undefined ? sql`true` : inMonth(month)
      for (let after: string | undefined; ; ) {
        // A table with its own order of texts: what is compared must be what is sorted.
        const beyond = after === undefined ? sql`` : sql`and user_id collate "C" > ${after}`
        const users = await namingFailures(async () => {
          const { rows } = await sql<{ user: string }>`
            select distinct user_id collate "C" as user from public.user_logins
            where ${where} and user_id is not null ${beyond} order by 1 limit ${batch}`.execute(database)
          return rows.map(({ user }) => user)
        })
        if (users.length > 0) yield users
        if (users.length < batch) return
        after = users.at(-1)
      }
    },

    async noteSeen(month, field, place, format) {
      const tokens =
        place.kind === 'column'
          ? sql`select distinct ${text(place.column)} as token from public.user_logins where ${inMonth(month)}`
          : sql`select distinct network.masked_network as token from public.user_logins
              join analyst.ip_networks as network on network.masked_ip = ${text(place.addressColumn)} where ${inMonth(month)}`
      await namingFailures(() =>
        inTransaction(database, async transaction => {
          await sql`set local role tokenvault_owner`.execute(transaction)
          await sql`update pii_vault.originals as original set last_seen = ${`${month}-01`}::date
            from (${tokens}) as seen
            where original.token_id = pii_vault.token_id_of(seen.token, ${field}, ${format}) and original.field = ${field}
              and coalesce(original.last_seen < ${`${month}-01`}::date, true)`.execute(transaction)
        }),
      )
    },

    drop: (month, describe) =>
      change(async transaction => {
        for (const table of monthTables) await lockMonth(transaction, table, month)
        const rows = await countRows(month, transaction)
        for (const table of monthTables) await dropMonth(transaction, table, month)
        await noteDropped(transaction, month, rows)
        await appendEvent(transaction, describe(rows))
        return rows
      }),

    deleteOthers: (month, held, describe) =>
      change(async transaction => {
        let deleted = 0
        for (const table of monthTables) {
          const { rows } = await sql`
            delete from ${sql.table(table)} where (tableoid, ctid) in (
              select tableoid, ctid from ${sql.table(table)}
              where ${inMonth(month)} and (user_id is null or user_id <> all (${textArray(held)}::text[])) limit ${batch})
            returning 1 as one`.execute(transaction)
          if (table === 'public.user_logins') deleted = rows.length
          else deleted = Math.max(deleted, rows.length)
        }
        if (deleted === 0) return 0
        await noteDropped(transaction, month, deleted)
        await appendEvent(transaction, describe(deleted))
        return deleted
      }),
  }
}

/** As text, whatever the type of the column is; an address without /128. */
function text(column: string) {
  return sql`regexp_replace(${sql.ref(`user_logins.${column}`)}::text, '/128$', '')`
}

async function noteDropped(transaction: TokenvaultDatabase, month: string, rows: number): Promise<void> {
  await sql`insert into pii_vault.dropped_months as dropped (month, rows) values (${`${month}-01`}::date, ${rows})
    on conflict (month) do update set rows = dropped.rows + excluded.rows, dropped_at = now()`.execute(transaction)
}
