import { sql } from 'kysely'
import { TokenvaultError } from '../../errors.ts'
import { eventFields, type FieldSchema } from '../../vault/fields/fields.ts'
import { namingFailures, type TokenvaultDatabase } from '../postgres/database.ts'

/** The longest token that a column must take. */
const tokenCharacters = 256

/**
 * Checks that user_logins has a column for each field, of a type that holds any token. The owner of the table decides
 * about adding one, because analysts see it: of ours only `tokenvault up` does it, on a database of its own.
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
  const problems = eventFields(fields).flatMap(({ name, column }) => {
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

/** Adds the columns of fields that user_logins lacks, each with an index for look-ups. @throws TokenvaultError `store_unavailable` */
export async function addLoginColumns(owner: TokenvaultDatabase, fields: FieldSchema): Promise<void> {
  for (const { column } of eventFields(fields)) {
    const type = sql.raw(`varchar(${tokenCharacters})`)
    await namingFailures(async () => {
      await sql`alter table public.user_logins add column if not exists ${sql.ref(column)} ${type}`.execute(owner)
      await sql`create index if not exists ${sql.ref(`user_logins_${column}`)} on public.user_logins
        using hash (${sql.ref(column)})`.execute(owner)
    })
  }
}

function holdsTokens(type: string): boolean {
  const length = /^character varying(?:\((\d+)\))?$/.exec(type)
  return type === 'text' || (length !== null && Number(length[1] ?? tokenCharacters) >= tokenCharacters)
}
