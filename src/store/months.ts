import { type RawBuilder, sql } from 'kysely'
import { type Client, escapeIdentifier } from 'pg'
import { type Batch, copyIn } from './copy-rows.ts'
import type { TokenvaultDatabase } from './postgres/database.ts'

/** Tables of rows that are partitioned by month of create_date. */
export const monthTables = ['public.user_logins', 'analyst.login_details'] as const
export type MonthTable = (typeof monthTables)[number]

/** Half-open range of the days of a month. */
export function inMonth(month: string): RawBuilder<boolean> {
  const first = `${month}-01`
  return sql`create_date >= ${first}::date and create_date < (${first}::date + interval '1 month')::date`
}

interface Placed {
  /** The partition of the month, or the default one where the month has none. */
  readonly partition: string
  readonly isOwn: boolean
}

async function findPartition(transaction: TokenvaultDatabase, table: MonthTable, month: string): Promise<Placed> {
  const name = table.slice(table.indexOf('.') + 1)
  const own = `${name}_${month.replace('-', '_')}`
  const { rows } = await sql<{ there: boolean }>`
    select exists (select from pg_inherits where inhparent = ${table}::regclass
      and inhrelid = to_regclass(${`ingest.${own}`})) as there`.execute(transaction)
  return rows[0]!.there
    ? { partition: `ingest.${own}`, isOwn: true }
    : { partition: `ingest.${name}_default`, isOwn: false }
}

/**
 * Until the transaction ends nobody writes rows of the month, and everybody reads them. A worker that waits for us would keep
 * us from detaching, and we it from going on: so our own wait is shorter than the one after which Postgres ends somebody.
 */
export async function lockMonth(transaction: TokenvaultDatabase, table: MonthTable, month: string): Promise<void> {
  const { partition } = await findPartition(transaction, table, month)
  await sql`set local lock_timeout = '800ms'`.execute(transaction)
  await sql`lock table ${sql.table(partition)} in share row exclusive mode`.execute(transaction)
}

/**
 * Takes all rows of a month out of a table: its partition is detached and dropped; where the month has none, its rows are deleted
 * from the default one. It takes an exclusive lock on the table for the rest of the transaction, so it should stand near its end.
 *
 * @param transaction of tokenvault_owner, after lockMonth
 */
export async function dropMonth(transaction: TokenvaultDatabase, table: MonthTable, month: string): Promise<void> {
  const { partition, isOwn } = await findPartition(transaction, table, month)
  if (!isOwn) {
    await sql`delete from ${sql.table(partition)} where create_date >= ${`${month}-01`}::date
      and create_date < (${`${month}-01`}::date + interval '1 month')::date`.execute(transaction)
    return
  }
  await sql`alter table ${sql.table(table)} detach partition ${sql.table(partition)}`.execute(transaction)
  await sql`drop table ${sql.table(partition)}`.execute(transaction)
}

/** Rows of one file, with the names of its columns. */
export interface Portion {
  readonly columns: readonly { readonly name: string }[]
  readonly batches: AsyncIterable<Batch>
}

/**
 * Puts rows of a month into a table. Where the month has no partition one is made: filled first and attached last, together with
 * what came late and stands in the default partition.
 *
 * @param client the connection of the transaction
 * @param transaction of tokenvault_owner
 */
export async function putMonth(
  { client, transaction }: { readonly client: Client; readonly transaction: TokenvaultDatabase },
  table: MonthTable,
  month: string,
  portions: readonly Portion[],
): Promise<void> {
  const { isOwn, partition: place } = await findPartition(transaction, table, month)
  const name = table.slice(table.indexOf('.') + 1)
  const own = `ingest.${name}_${month.replace('-', '_')}`
  if (portions.length === 0) return
  const into = isOwn ? place : own
  if (!isOwn) await sql`create table ${sql.table(own)} (like ${sql.table(table)} including all)`.execute(transaction)
  for (const { columns, batches } of portions) {
    const names = columns.map(({ name }) => escapeIdentifier(name)).join(', ')
    const [schema, relation] = into.split('.') as [string, string]
    await copyIn(client, `copy ${escapeIdentifier(schema)}.${escapeIdentifier(relation)} (${names})`, batches)
  }
  if (isOwn) return
  const range = sql`create_date >= ${`${month}-01`}::date and create_date < (${`${month}-01`}::date + interval '1 month')::date`
  await sql`lock table ${sql.table(place)} in share row exclusive mode`.execute(transaction)
  await sql`with late as (delete from ${sql.table(place)} where ${range} returning *)
    insert into ${sql.table(own)} select * from late`.execute(transaction)
  const first = `${month}-01`
  const { rows } = await sql<{
    next: string
  }>`select (${first}::date + interval '1 month')::date::text as next`.execute(transaction)
  await sql`alter table ${sql.table(table)} attach partition ${sql.table(own)}
    for values from (${sql.lit(first)}) to (${sql.lit(rows[0]!.next)})`.execute(transaction)
}
