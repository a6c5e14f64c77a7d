import { type RawBuilder, sql } from 'kysely'
import type { LoginRow } from '../ingest/ports.ts'
import type { EventField } from '../vault/fields/fields.ts'
import { plainArray } from './postgres/array-literal.ts'
import type { TokenvaultDatabase } from './postgres/database.ts'

/** A column of user_logins that takes the tokens of a field. */
export interface TokenColumn {
  readonly column: string
  /** What an array of its tokens is sent as: the column's own type, or text. */
  readonly type: 'text' | 'uuid' | 'inet'
}

/**
 * The columns of the fields, in their order, with their types as the database has them: a uuid or inet token may stand in a column of
 * its type or of text, and none is cast from one to the other, because inet as text has /128 behind it.
 *
 * Read once, and only where a field has such tokens.
 */
export function createTokenColumns(
  fields: readonly EventField[],
): (database: TokenvaultDatabase) => Promise<readonly TokenColumn[]> {
  const asText = fields.map(({ column }): TokenColumn => ({ column, type: 'text' }))
  let known = fields.every(({ format }) => format === 'text') ? asText : undefined
  return async database => {
    if (known !== undefined) return known
    const { rows } = await sql<{ column: string; type: 'uuid' | 'inet' }>`
      select attname as column, atttypid::regtype::text as type from pg_attribute
      where attrelid = 'public.user_logins'::regclass and attnum > 0 and not attisdropped
        and atttypid in ('uuid'::regtype, 'inet'::regtype)`.execute(database)
    const types = new Map(rows.map(({ column, type }) => [column, type]))
    known = fields.map(({ column, format }) => {
      return { column, type: format !== 'text' && types.get(column) === format ? format : 'text' }
    })
    return known
  }
}

/** Tokens of one place of the rows, as an array of the column's type. */
export function tokensArray(rows: readonly LoginRow[], place: number, { type }: TokenColumn): RawBuilder<unknown> {
  return sql`${plainArray(rows.map(row => tokenAt(row, place)))}::${sql.raw(type)}[]`
}

/** A row without an entry for a field is a fault of ours, and never one whose value is null. @throws TypeError for it */
function tokenAt({ tokens }: LoginRow, place: number): string {
  const value = tokens[place]!
  return value === null ? 'NULL' : value.token
}
