import { sql } from 'kysely'
import type { EventField } from '../../vault/fields/fields.ts'
import type { PersonOverview, PersonReader, PersonRow, RecordedExport } from '../../vault/people/ports.ts'
import { namingFailures, type TokenvaultDatabase } from '../postgres/database.ts'

interface FoundRow {
  readonly kind: 'month' | 'token'
  /** The month, or the place of the field. */
  readonly name: string
  /** The number of rows, or the token. */
  readonly what: string
  readonly first_day: string | null
  readonly last_day: string | null
}

/** Rows of user_logins by person, as the role `tokenvault_privacy` reads them. */
export function createPersonReader(database: TokenvaultDatabase, fields: readonly EventField[]): PersonReader {
  const tokens = fields.map(({ column }, place) => sql`${tokenText(column)} as ${sql.ref(`token_${place}`)}`)
  return {
    readOverview: (userId, limit) =>
      namingFailures(async () => {
        // One pass over the table, whatever is asked of it: there is no index on user_id (docs/people.md has the figures).
        const distinct = fields.map((_, place) => {
          const token = sql.ref(`token_${place}`)
          return sql`union all (select distinct 'token', ${String(place)}, ${token}, null, null from mine
            where ${token} is not null order by 3 limit ${limit + 1})`
        })
        const { rows } = await sql<FoundRow>`
          with mine as materialized (select ${sql.join([sql`create_date`, ...tokens])} from public.user_logins where user_id = ${userId})
          select 'month' as kind, to_char(create_date, 'YYYY-MM') as name, count(*)::text as what,
            min(create_date)::text as first_day, max(create_date)::text as last_day from mine group by 2
          ${sql.join(distinct, sql` `)}`.execute(database)
        return toOverview(rows, fields, limit)
      }),

    hasRows: userIds =>
      namingFailures(async () => {
        if (userIds.length === 0) return []
        const { rows } = await sql<{ user_id: string }>`
          select distinct user_id from public.user_logins where user_id = any (${userIds}::text[])`.execute(database)
        return rows.map(({ user_id: userId }) => userId)
      }),

    listRows: (userId, limit) =>
      namingFailures(async () => {
        const { rows } = await sql<Record<string, string | null> & { app_version: number | null }>`
          select create_date::text as create_date, device_type, locale, app_version, count(*)::text as count, ${sql.join(tokens)}
          from public.user_logins where user_id = ${userId}
          group by ${sql.raw(Array.from({ length: 4 }, (_, place) => place + 1).join(', '))}, ${sql.raw(fields.map((_, place) => place + 6).join(', '))}
          order by create_date limit ${limit}`.execute(database)
        return rows.map(
          (row): PersonRow => ({
            createDate: row['create_date']!,
            deviceType: row['device_type']!,
            locale: row['locale']!,
            appVersion: row.app_version,
            count: Number(row['count']),
            tokens: Object.fromEntries(fields.map(({ name }, place) => [name, row[`token_${place}`] ?? null])),
          }),
        )
      }),

    listExports: ({ first, last }, limit) =>
      namingFailures(async () => {
        const { rows } = await sql<RecordedExport>`
          select at, kind, target, to_char(from_month, 'YYYY-MM') as "fromMonth", to_char(to_month, 'YYYY-MM') as "toMonth"
          from pii_vault.exports where from_month <= ${`${last}-01`}::date and to_month >= ${`${first}-01`}::date
          order by at desc limit ${limit}`.execute(database)
        return rows
      }),
  }
}

/** As the token stands in JSON: inet as text may have /128 behind it, and no other token has a slash. */
function tokenText(column: string) {
  return sql`split_part(${sql.ref(column)}::text, '/', 1)`
}

function toOverview(
  rows: readonly FoundRow[],
  fields: readonly EventField[],
  limit: number,
): PersonOverview | undefined {
  const months = rows.filter(({ kind }) => kind === 'month').sort((a, b) => (a.name < b.name ? -1 : 1))
  if (months.length === 0) return undefined
  const tokens = fields.map(({ name }, place) => {
    const found = rows.filter(row => row.kind === 'token' && row.name === String(place)).map(({ what }) => what)
    return { field: name, tokens: found.slice(0, limit), hasMore: found.length > limit }
  })
  return {
    months: months.map(({ name: month, what }) => ({ month, rows: Number(what) })),
    firstDay: months[0]!.first_day!,
    lastDay: months.at(-1)!.last_day!,
    tokens,
  }
}
