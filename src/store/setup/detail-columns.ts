import { sql } from 'kysely'
import { TokenvaultError } from '../../errors.ts'
import type { ClearColumn } from '../../vault/fields/clear-columns.ts'
import { eventFields, type FieldSchema } from '../../vault/fields/fields.ts'
import { namingFailures, type TokenvaultDatabase } from '../postgres/database.ts'

/** A column that analyst.login_details has to have. */
interface DetailColumn {
  readonly column: string
  /** As format_type gives it. */
  readonly type: string
  readonly comment: string
}

/** Columns of tokens first, so that a row of login_details holds all that one of user_logins does. */
function neededColumns(fields: FieldSchema, clear: readonly ClearColumn[]): readonly DetailColumn[] {
  if (clear.length === 0) return []
  return [
    ...eventFields(fields).map(({ column }) => ({
      column,
      type: 'character varying(256)',
      comment: 'Token, as in public.user_logins; null where there is none.',
    })),
    ...clear.map(({ property, column, type }) => ({
      column,
      type,
      comment: `Property ${property} of the event, in clear; null where the event has none, or one that the column cannot hold.`,
    })),
  ]
}

async function readTypes(database: TokenvaultDatabase): Promise<ReadonlyMap<string, string>> {
  const { rows } = await sql<{ column: string; type: string }>`
    select attname as column, format_type(atttypid, atttypmod) as type from pg_attribute
    where attrelid = to_regclass('analyst.login_details') and attnum > 0 and not attisdropped`.execute(database)
  return new Map(rows.map(({ column, type }) => [column, type]))
}

/**
 * Checks that analyst.login_details has the column of every clear property, of its type.
 *
 * @throws TokenvaultError `config_invalid` with what to do about each column, `store_unavailable`
 */
export async function checkDetailColumns(
  database: TokenvaultDatabase,
  fields: FieldSchema,
  clear: readonly ClearColumn[],
): Promise<void> {
  if (clear.length === 0) return
  const types = await namingFailures(() => readTypes(database))
  refuse(
    neededColumns(fields, clear).flatMap(needed => {
      if (types.has(needed.column)) return describeOtherType(needed, types)
      return [
        `column ${needed.column} of analyst.login_details is missing; run \`tokenvault migrate\` with the same FIELDS_FILE`,
      ]
    }),
  )
}

/**
 * Adds the columns that clear properties lack. None is changed or dropped: what stands in it would be lost.
 *
 * @param owner a connection that may act as tokenvault_owner
 * @returns the columns added
 * @throws TokenvaultError `config_invalid` where a column of that name has another type, and then adds none; `store_unavailable`
 */
export function addDetailColumns(
  owner: TokenvaultDatabase,
  fields: FieldSchema,
  clear: readonly ClearColumn[],
): Promise<readonly string[]> {
  const needed = neededColumns(fields, clear)
  if (needed.length === 0) return Promise.resolve([])
  return namingFailures(() =>
    owner
      .transaction()
      .setIsolationLevel('read committed')
      .execute(async transaction => {
        await sql`select pg_advisory_xact_lock(hashtextextended('tokenvault/migrate', 0))`.execute(transaction)
        await sql`set local role tokenvault_owner`.execute(transaction)
        const types = await readTypes(transaction)
        refuse(needed.flatMap(each => describeOtherType(each, types)))
        const missing = needed.filter(({ column }) => !types.has(column))
        for (const { column, type, comment } of missing) {
          await sql`alter table analyst.login_details add column ${sql.ref(column)} ${sql.raw(type)}`.execute(
            transaction,
          )
          await sql`comment on column analyst.login_details.${sql.ref(column)} is ${sql.lit(comment)}`.execute(
            transaction,
          )
        }
        return missing.map(({ column }) => column)
      }),
  )
}

function describeOtherType({ column, type }: DetailColumn, types: ReadonlyMap<string, string>): readonly string[] {
  const found = types.get(column)
  if (found === undefined || found === type) return []
  const mend = `ALTER TABLE analyst.login_details ALTER COLUMN ${column} TYPE ${type}`
  return [
    `column ${column} of analyst.login_details is of type ${found}, not ${type}; name another column, or as the table's owner: ${mend}`,
  ]
}

function refuse(problems: readonly string[]): void {
  if (problems.length === 0) return
  const detail = problems.length === 1 ? problems[0]! : [`${problems.length} problems:`, ...problems].join('\n  ')
  throw new TokenvaultError('config_invalid', detail)
}
