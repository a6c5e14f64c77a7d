import { type RawBuilder, sql } from 'kysely'
import type { LoginRow } from '../ingest/ports.ts'
import { plainArray, textArray } from './postgres/array-literal.ts'
import type { TokenvaultDatabase } from './postgres/database.ts'
import { type TokenColumn, tokensArray } from './token-columns.ts'

/** Columns of rows, and an array for each. */
export interface LoginColumns {
  readonly names: readonly string[]
  readonly arrays: readonly RawBuilder<unknown>[]
}

/** What a row of user_logins holds, column by column. */
export function loginColumns(tokenColumns: readonly TokenColumn[], rows: readonly LoginRow[]): LoginColumns {
  return {
    names: [
      'user_id',
      'device_type',
      'locale',
      'app_version',
      'create_date',
      ...tokenColumns.map(({ column }) => column),
    ],
    arrays: [
      sql`${textArray(rows.map(({ userId }) => userId))}::text[]`,
      sql`${textArray(rows.map(({ deviceType }) => deviceType))}::text[]`,
      sql`${textArray(rows.map(({ locale }) => locale))}::text[]`,
      sql`${plainArray(rows.map(({ appVersion }) => appVersion ?? 'NULL'))}::int[]`,
      sql`${plainArray(rows.map(({ createDate }) => createDate))}::date[]`,
      ...tokenColumns.map((column, place) => tokensArray(rows, place, column)),
    ],
  }
}

/** Adds rows to user_logins. */
export async function insertRows(transaction: TokenvaultDatabase, { names, arrays }: LoginColumns): Promise<void> {
  await sql`
    insert into public.user_logins (${sql.join(names.map(name => sql.ref(name)))})
    select * from unnest(${sql.join(arrays)})`.execute(transaction)
}
