import { type RawBuilder, sql } from 'kysely'
import { backoffMilliseconds, pause } from '../../concurrency/waiting.ts'
import { TokenvaultError } from '../../errors.ts'
import type { ColumnRow, ColumnRows, RowKey, TokenizedRow } from '../../vault/tokens/fill-column.ts'
import { textArray } from '../postgres/array-literal.ts'
import { inTransaction, namingFailures, type TokenvaultDatabase } from '../postgres/database.ts'
import { whileLocked } from '../postgres/while-locked.ts'
import type { TokenTable } from './find-table.ts'

/** No rule accepts a value that is longer; what is longer is not even read. */
const longestReadBytes = 1024

/** How long a batch waits for rows that other transactions hold. */
const lockTimeout = '5s'

/** A table whose column of tokens is there. */
export type FillableTable = TokenTable & { readonly token: NonNullable<TokenTable['token']> }

/**
 * The rows of a column, by key. No transaction is open between reading and writing: a row is updated only if it is still the
 * version that was read (`xmin`), so that a value that changed meanwhile never gets the token of the one before. The
 * statements hold keys and tokens; no value of the column goes back to the server.
 */
export function createColumnRows(database: TokenvaultDatabase, table: FillableTable): ColumnRows {
  const inside = <T>(work: (transaction: TokenvaultDatabase) => Promise<T>) =>
    namingFailures(() =>
      inTransaction(database, async transaction => {
        await settle(table).execute(transaction)
        return work(transaction)
      }),
    )
  return {
    read: (which, after, limit) =>
      inside(async transaction => (await readRows(table, which, after, limit).execute(transaction)).rows),
    write: rows =>
      inside(async transaction => {
        const { numAffectedRows = 0n } = await updateRows(table, rows).execute(transaction)
        return Number(numAffectedRows)
      }),
    count: () =>
      inside(async transaction => {
        const { rows } = await sql<{ total: string; filled: string; open: string }>`
          select count(*) as total, count(${sql.id(table.token.name)}) as filled,
            count(*) filter (where ${isOpen(table)}) as open from ${nameOf(table)}`.execute(transaction)
        const { total, filled, open } = rows[0]!
        return { total: Number(total), filled: Number(filled), open: Number(open) }
      }),
  }
}

/** What there would be to do in a column that is still to be added. */
export function countClearValues(
  database: TokenvaultDatabase,
  { schema, table, value }: TokenTable,
): Promise<{ readonly total: number; readonly filled: number; readonly open: number }> {
  return namingFailures(async () => {
    const { rows } = await sql<{ total: string; open: string }>`
      select count(*) as total, count(${sql.id(value.name)}) as open from ${sql.id(schema, table)}`.execute(database)
    return { total: Number(rows[0]!.total), filled: 0, open: Number(rows[0]!.open) }
  })
}

/** Operators are those of Postgres and of the types of the key, whatever else a database has. */
function settle({ typeSchemas }: TokenTable): RawBuilder<unknown> {
  const path = ['pg_catalog', ...typeSchemas.map(schema => `"${schema.replaceAll('"', '""')}"`), 'pg_temp'].join(', ')
  return sql`select set_config('search_path', ${path}, true), set_config('lock_timeout', ${lockTimeout}, true)`
}

function nameOf({ schema, table }: TokenTable): RawBuilder<unknown> {
  return sql.id(schema, table)
}

function isOpen({ value, token }: FillableTable): RawBuilder<unknown> {
  return sql`${sql.id(value.name)} is not null and ${sql.id(token.name)} is null`
}

function readRows(
  table: FillableTable,
  which: 'open' | 'filled',
  after: RowKey | undefined,
  limit: number,
): RawBuilder<ColumnRow> {
  const { key, value, token } = table
  const keys = key.map(({ name }) => sql.id(name))
  const beyond = sql`(${sql.join(keys)}) > (${sql.join(key.map(({ type }, place) => sql`${after?.[place] ?? ''}::text::${sql.raw(type)}`))})`
  const isWanted =
    which === 'open' ? isOpen(table) : sql`${sql.id(value.name)} is not null and ${sql.id(token.name)} is not null`
  return sql<ColumnRow>`
    select array[${sql.join(keys.map(name => sql`${name}::text`))}] as key, xmin::text as version,
      case when octet_length(clear.text) <= ${longestReadBytes} then clear.text end as value, ${tokenText(table)} as token
    from ${nameOf(table)}, lateral (select ${valueText(value)} as text) as clear
    where ${isWanted}${after === undefined ? sql`` : sql` and ${beyond}`}
    order by ${sql.join(keys)} limit ${limit}`
}

/** The text that tokens are made from: an address without /32, which its cast to text would add. */
function valueText({ name, type }: TokenTable['value']): RawBuilder<unknown> {
  const column = sql.id(name)
  if (type !== 'inet') return sql`${column}::text`
  return sql`case when masklen(${column}) = case family(${column}) when 4 then 32 else 128 end then host(${column}) else ${column}::text end`
}

function tokenText({ token, format }: FillableTable): RawBuilder<unknown> {
  return format === 'inet' ? sql`host(${sql.id(token.name)})` : sql`${sql.id(token.name)}::text`
}

function updateRows({ schema, table, key, token }: FillableTable, rows: readonly TokenizedRow[]) {
  const names = key.map((_, place) => `k${place}`)
  const columns = [
    ...key.map((_, place) => rows.map(row => row.key[place]!)),
    rows.map(({ version }) => version),
    rows.map(row => row.token),
  ]
  const arrays = columns.map(texts => sql`${textArray(texts)}::text[]`)
  const matches = key.map(({ name, type }, place) => {
    return sql`target.${sql.id(name)} = given.${sql.id(names[place]!)}::${sql.raw(type)}`
  })
  return sql`
    update ${sql.id(schema, table)} as target set ${sql.id(token.name)} = given.token::${sql.raw(token.type)}
    from unnest(${sql.join(arrays)}) as given (${sql.raw([...names, 'version', 'token'].join(', '))})
    where ${sql.join(matches, sql` and `)} and target.xmin = given.version::xid and target.${sql.id(token.name)} is null`
}

/**
 * Runs work while no other backfill of the column runs.
 *
 * @throws TokenvaultError `backfill_running`; what the work throws
 */
export function whileAlone<T>(
  database: TokenvaultDatabase,
  { oid, name, tokenName }: TokenTable,
  work: () => Promise<T>,
): Promise<T> {
  const refuse = () => new TokenvaultError('backfill_running', `another backfill fills column ${tokenName} of ${name}`)
  return whileLocked(database, `tokenvault/backfill/${oid}/${tokenName}`, refuse, work)
}

/** Attempts at rows that other transactions hold, or at a server that is away for a moment. */
const attempts = 5

/** The same rows, and again where the database could not do its work for a moment. */
export function retrying(rows: ColumnRows): ColumnRows {
  const again = async <T>(work: () => Promise<T>): Promise<T> => {
    for (let attempt = 1; ; attempt++) {
      try {
        return await work()
      } catch (error) {
        const isPassing = error instanceof TokenvaultError && error.code === 'store_unavailable'
        if (!isPassing || attempt === attempts) throw error
        await pause(backoffMilliseconds(attempt))
      }
    }
  }
  return {
    read: (...args) => again(() => rows.read(...args)),
    write: given => again(() => rows.write(given)),
    count: () => again(() => rows.count()),
  }
}
