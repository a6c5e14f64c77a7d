import { type RawBuilder, sql } from 'kysely'
import type { ColumnCounts, TokenColumn } from '../../vault/ledger/ports.ts'
import { plainArray } from '../postgres/array-literal.ts'
import type { TokenvaultDatabase } from '../postgres/database.ts'
import { classifyFailure } from '../postgres/failures.ts'
import { findUnreadable, type Unreadable } from './registry.ts'

/** Tokens of one question for originals. */
const chunkRows = 20_000

const problems: Readonly<Record<Unreadable, string>> = {
  gone: 'the table or the column is gone; if that is meant: tokenvault backfill --forget',
  'not a table': 'it is not a table any more',
  'not granted': 'it may not be read: run `tokenvault migrate`, or grant SELECT on the column',
  'rows hidden': 'row-level security may hide rows of it',
}

/**
 * Counts the tokens of a column, and those without an original, as the auditor: who reads a table of strangers may meet their
 * code, in an index or a policy, and that must run with no other rights.
 */
export async function countColumn(database: TokenvaultDatabase, column: TokenColumn): Promise<ColumnCounts> {
  const none = { ...column, tokens: 0, withoutOriginal: 0 }
  const unreadable = await findUnreadable(database, column)
  if (unreadable !== undefined) return { ...none, problem: problems[unreadable] }
  try {
    return await database
      .transaction()
      .setIsolationLevel('repeatable read')
      .setAccessMode('read only')
      .execute(transaction => countTokens(transaction, column))
  } catch (error) {
    const { kind, label } = classifyFailure(error)
    // It was changed since; whatever time mends fails the whole command.
    if (kind === 'permanent' || kind === 'data') return { ...none, problem: `it cannot be read (${label})` }
    throw error
  }
}

async function countTokens(transaction: TokenvaultDatabase, column: TokenColumn): Promise<ColumnCounts> {
  await sql`select set_config('search_path', 'pg_catalog, pg_temp', true)`.execute(transaction)
  const { rows } = await sql<{ type: string }>`
    select format_type(atttypid, null) as type from pg_attribute join pg_class c on c.oid = attrelid
    join pg_namespace n on n.oid = relnamespace
    where nspname = ${column.schema} and relname = ${column.table} and attname = ${column.column}`.execute(transaction)
  await sql`declare tokens no scroll cursor for
    select ${tokenId(column, rows[0]?.type ?? '')} as id from ${sql.id(column.schema, column.table)}
    where ${sql.id(column.column)} is not null`.execute(transaction)
  const counts = { tokens: 0, withoutOriginal: 0 }
  for (;;) {
    const fetched = await sql<{ id: string | null }>`fetch ${sql.raw(String(chunkRows))} from tokens`.execute(
      transaction,
    )
    if (fetched.rows.length === 0) return { ...column, ...counts }
    const ids = plainArray(fetched.rows.map(({ id }) => id ?? 'NULL'))
    const found = await sql<{ missing: string }>`
      select pii_vault.count_without_original(${column.field}, ${ids}::uuid[]) as missing`.execute(transaction)
    counts.tokens += fetched.rows.length
    counts.withoutOriginal += Number(found.rows[0]!.missing)
  }
}

/** The id of a token of the field, by the type of the column; null for whatever is not one. */
function tokenId({ column, field }: TokenColumn, type: string): RawBuilder<unknown> {
  const name = sql.id(column)
  if (type === 'uuid') return name
  // Family, bits, flag and length stand before the 16 bytes of an address.
  if (type === 'inet')
    return sql`case when family(${name}) = 6 and masklen(${name}) = 128 then encode(substr(inet_send(${name}), 5), 'hex')::uuid end`
  const shape = `^${field}_v[1-9][0-9]{0,8}_[A-Za-z0-9_-]{21}[AQgw]$`
  return sql`case when ${name}::text ~ ${sql.lit(shape)} then
    encode(decode(translate(right(${name}::text, 22), '-_', '+/') || '==', 'base64'), 'hex')::uuid end`
}
