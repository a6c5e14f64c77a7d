import { sql } from 'kysely'
import { TokenvaultError } from '../../errors.ts'
import type { FieldSchema } from '../../vault/fields/fields.ts'
import { namingFailures, type TokenvaultDatabase } from '../postgres/database.ts'

/** The longest token that a column must take. */
const tokenCharacters = 256

/**
 * Checks that user_logins has a column for each field, of a type that holds any token. The owner of the table decides
 * about adding one, because analysts see it: no process of ours does it.
 *
 * @throws TokenvaultError `config_invalid` with the SQL that mends each column, `store_unavailable`
 */
export async function checkLoginColumns(database: TokenvaultDatabase, fields: FieldSchema): Promise<void> {
  // information_schema would hide columns on which the role has no right.
  const { rows } = await namingFailures(() =>
    sql<{ column: string; type: string }>`
      select attname as column, format_type(atttypid, atttypmod) as type from pg_attribute
      where attrelid = to_regclass('public.user_logins') and attnum > 0 and not attisdropped`.execute(database),
  )
  const types = new Map(rows.map(({ column, type }) => [column, type]))
  const problems = [...fields.values()].flatMap(({ name, column }) => {
    const type = types.get(column)
    if (type !== undefined && holdsTokens(type)) return []
    const change = type === undefined ? `ADD COLUMN ${column}` : `ALTER COLUMN ${column} TYPE`
    const problem = type === undefined ? 'is missing' : `is of type ${type}`
    const mend = `ALTER TABLE public.user_logins ${change} varchar(${tokenCharacters})`
    return [`column ${column} of user_logins, for field ${name}, ${problem}; as the table's owner: ${mend}`]
  })
  if (problems.length === 0) return
  const detail = problems.length === 1 ? problems[0]! : [`${problems.length} problems:`, ...problems].join('\n  ')
  throw new TokenvaultError('config_invalid', detail)
}

function holdsTokens(type: string): boolean {
  const length = /^character varying(?:\((\d+)\))?$/.exec(type)
  return type === 'text' || (length !== null && Number(length[1] ?? tokenCharacters) >= tokenCharacters)
}
