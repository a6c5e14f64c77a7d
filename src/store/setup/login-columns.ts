import { sql } from 'kysely'
import { TokenvaultError } from '../../errors.ts'
import { eventFields, type Field, type FieldSchema } from '../../vault/fields/fields.ts'
import { namingFailures, type TokenvaultDatabase } from '../postgres/database.ts'

type TokenFormat = Field['format']

/** The characters that a column of text must take. */
const tokenCharacters = { text: 256, uuid: 36, inet: 39 } as const satisfies Record<TokenFormat, number>

/** What a column that is added is of. */
const columnType = { text: `varchar(${tokenCharacters.text})`, uuid: 'uuid', inet: 'inet' } as const satisfies Record<
  TokenFormat,
  string
>

/**
 * Checks that user_logins has a column for each field, of a type that holds any token of its format: text, or the type that the
 * format is named after. The owner of the table decides
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
  const problems = eventFields(fields).flatMap(({ name, column, format }) => {
    const type = types.get(column)
    if (type !== undefined && holdsTokens(type, format)) return []
    const others = format === 'text' ? '' : `, and neither ${format} nor text`
    const problem = type === undefined ? 'is missing' : `is of type ${type}${others}`
    // Whatever is in a column can become text.
    const change =
      type === undefined
        ? `ADD COLUMN ${column} ${columnType[format]}`
        : `ALTER COLUMN ${column} TYPE ${columnType.text}`
    const mend = `ALTER TABLE public.user_logins ${change}`
    return [`column ${column} of user_logins, for field ${name}, ${problem}; as the table's owner: ${mend}`]
  })
  if (problems.length === 0) return
  const detail = problems.length === 1 ? problems[0]! : [`${problems.length} problems:`, ...problems].join('\n  ')
  throw new TokenvaultError('config_invalid', detail)
}

/** Adds the columns of fields that user_logins lacks, each with an index for look-ups. @throws TokenvaultError `store_unavailable` */
export async function addLoginColumns(owner: TokenvaultDatabase, fields: FieldSchema): Promise<void> {
  for (const { column, format } of eventFields(fields)) {
    const type = sql.raw(columnType[format])
    await namingFailures(async () => {
      await sql`alter table public.user_logins add column if not exists ${sql.ref(column)} ${type}`.execute(owner)
      await sql`create index if not exists ${sql.ref(`user_logins_${column}`)} on public.user_logins
        using hash (${sql.ref(column)})`.execute(owner)
    })
  }
}

function holdsTokens(type: string, format: TokenFormat): boolean {
  if (type === 'text' || type === format) return true
  const length = /^character varying(?:\((\d+)\))?$/.exec(type)
  return length !== null && (length[1] === undefined || Number(length[1]) >= tokenCharacters[format])
}
