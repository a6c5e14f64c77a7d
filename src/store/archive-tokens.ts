import { type RawBuilder, sql } from 'kysely'
import { TokenvaultError } from '../errors.ts'
import { inMonth, type MonthTable, monthTables } from './months.ts'
import type { TokenvaultDatabase } from './postgres/database.ts'

/** Tokens of rows that came back and are of a token key that was moved away from. */
export interface RecalledTokens {
  /** They have their successors now. */
  readonly translated: number
  /** Their aliases were deleted: they stay as they are, and answer token_retired. */
  readonly left: number
}

/** The job that replaces tokens finds those of the database alone. @throws TokenvaultError `archive_tokens_moving` */
export async function refuseWhileMoving(transaction: TokenvaultDatabase): Promise<void> {
  const { rows } = await sql<{ field: string }>`
    select distinct field from pii_vault.token_moves where state = 'moving' order by field`.execute(transaction)
  if (rows.length > 0)
    throw new TokenvaultError('archive_tokens_moving', `tokens of ${rows.map(({ field }) => field).join(', ')}`)
}

/**
 * Tokens that were replaced while their rows were away, in the rows of a month that came back.
 *
 * @returns `translated`: how many tokens got their successors; `left`: how many are of a key whose aliases were deleted
 */
export async function translateTokens(transaction: TokenvaultDatabase, month: string): Promise<RecalledTokens> {
  let translated = 0
  let left = 0
  for (const { table, name, format, column, type } of await readAllTokenColumns(transaction)) {
    const held = type === 'inet' ? sql`host(login.${sql.id(column)})` : sql`login.${sql.id(column)}::text`
    const done = await sql`
      update ${sql.table(table)} as login set ${sql.id(column)} = alias.new_token::${sql.raw(type)} from pii_vault.token_aliases as alias
      where alias.field = ${name} and alias.old_token = ${held} and ${inMonth(month)}`.execute(transaction)
    translated += Number(done.numAffectedRows ?? 0)
    // Tokens of the other formats do not say of which key they are.
    if (format === 'uuid' || format === 'inet') continue
    const { rows } = await sql<{ count: string }>`
      select count(*) as count from ${sql.table(table)} as login join pii_vault.token_moves as move on field = ${name}
        and retired_at is not null and starts_with(${held}, ${`${name}_v`} || token_key_version || '_') where ${inMonth(month)}`.execute(
      transaction,
    )
    left += Number(rows[0]!.count)
  }
  return { translated, left }
}

interface TokenColumn {
  readonly name: string
  readonly format: string
  readonly column: string
  /** As Postgres writes it: text of our own catalog, not of a file. */
  readonly type: string
}

async function readAllTokenColumns(transaction: TokenvaultDatabase) {
  const found: (TokenColumn & { readonly table: MonthTable })[] = []
  for (const table of monthTables)
    for (const column of await readTokenColumns(transaction, table)) found.push({ ...column, table })
  return found
}

async function readTokenColumns(
  transaction: TokenvaultDatabase,
  table: MonthTable = 'public.user_logins',
): Promise<readonly TokenColumn[]> {
  const { rows } = await sql<TokenColumn>`
    select name, format, attname as column, format_type(atttypid, null) as type from pii_vault.fields
    join pg_attribute on attrelid = ${table}::regclass and attnum > 0 and not attisdropped and attname = 'masked_' || name`.execute(
    transaction,
  )
  return rows
}

export async function recordTokens(transaction: TokenvaultDatabase, month: string, part: number): Promise<void> {
  for (const { name, format, column } of await readTokenColumns(transaction)) {
    // Comparing in the order of bytes is cheap, and each id is made once; in the order of the index, which grows at its end then.
    await sql`
      with tokens as materialized (
        select distinct ${sql.id(column)}::text collate "C" as token from public.user_logins where ${inMonth(month)}),
      ids as materialized (select ${tokenId(name, format)} as id from tokens)
      insert into pii_vault.archived_tokens (token_id, field, month, part)
      select distinct id, ${name}, ${`${month}-01`}::date, ${part}::integer from ids where id is not null order by id`.execute(
      transaction,
    )
  }
}

/** pii_vault.token_id_of in place: a call for each token costs ten times as much. */
function tokenId(field: string, format: string): RawBuilder<string> {
  if (format === 'uuid' || format === 'inet') return sql`pii_vault.token_id_of(token, ${field}, ${format})`
  const rest = sql`substr(token, ${sql.lit(field.length + 3)})`
  return sql`case when starts_with(token, ${`${field}_v`}) and ${rest} ~ '^[1-9][0-9]*_[A-Za-z0-9_-]+$'
      and length(token) - strpos(${rest}, '_') = ${sql.lit(field.length + 24)} and strpos('AQgw', right(token, 1)) > 0
    then encode(decode(translate(right(token, 22), '-_', '+/') || '==', 'base64'), 'hex')::uuid end`
}
