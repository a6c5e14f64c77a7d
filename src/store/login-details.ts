import { sql } from 'kysely'
import type { LoginRow } from '../ingest/ports.ts'
import type { ClearColumn } from '../vault/fields/clear-columns.ts'
import type { LoginColumns } from './login-rows.ts'
import { plainArray, textArray } from './postgres/array-literal.ts'
import type { TokenvaultDatabase } from './postgres/database.ts'

/**
 * Stores rows once more, with what the clear columns take. Two batches have an id in common only where they have a message in
 * common, whose delivery record the later one waits for: so nothing is sorted here.
 */
export async function insertLoginDetails(
  transaction: TokenvaultDatabase,
  { names, arrays }: LoginColumns,
  clear: readonly ClearColumn[],
  rows: readonly LoginRow[],
): Promise<void> {
  const columns = ['login_id', ...names, ...clear.map(({ column }) => column)]
  const values = clear.map(({ type }, place) => {
    // A row without an entry for a column is a fault of ours.
    return sql`${textArray(rows.map(row => row.clear![place]!))}::${sql.raw(type)}[]`
  })
  await sql`
    insert into analyst.login_details (${sql.join(columns.map(name => sql.ref(name)))})
    select * from unnest(
      ${plainArray(rows.map(row => row.loginId!))}::uuid[], ${sql.join([...arrays, ...values])})
    on conflict do nothing`.execute(transaction)
}
