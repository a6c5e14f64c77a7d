import { sql } from 'kysely'
import { TokenvaultError } from '../../errors.ts'
import type { TokenColumn } from '../../vault/ledger/ports.ts'
import { inTransaction, namingFailures, type TokenvaultDatabase } from '../postgres/database.ts'
import { addColumnStatement, quote, type TokenTable } from './find-table.ts'
import { parseTableName } from './table-name.ts'

/** How long adding a column waits for those who use the table, who wait behind it meanwhile. */
const lockTimeout = '5s'

/** Adds the column that gets the tokens. @throws TokenvaultError `store_unavailable` while others hold the table, `store_misconfigured` */
export function addTokenColumn(database: TokenvaultDatabase, table: TokenTable): Promise<void> {
  return namingFailures(() =>
    inTransaction(database, async transaction => {
      await sql`select set_config('lock_timeout', ${lockTimeout}, true)`.execute(transaction)
      await sql.raw(addColumnStatement(table)).execute(transaction)
    }),
  )
}

/** What gives the auditor one column of a table, and nothing else of it. */
export function grantStatements({ schema, table, column }: Pick<TokenColumn, 'schema' | 'table' | 'column'>): string[] {
  return [
    `GRANT USAGE ON SCHEMA ${quote(schema)} TO tokenvault_auditor`,
    `GRANT SELECT (${quote(column)}) ON ${quote(schema)}.${quote(table)} TO tokenvault_auditor`,
  ]
}

/** What the owner of the table runs, so that the auditor sees the column whole. */
export function mendStatement(entry: Omit<TokenColumn, 'field'>, problem: Unreadable): string {
  if (problem !== 'rows hidden') return grantStatements(entry).join('; ')
  const table = `${quote(entry.schema)}.${quote(entry.table)}`
  return `CREATE POLICY tokenvault_auditor ON ${table} FOR SELECT TO tokenvault_auditor USING (true)`
}

/**
 * Enters a column, so that `tokenvault reconcile` proves its tokens, and lets the auditor read it: that column, and no other.
 *
 * @throws TokenvaultError `table_unsuitable` with the SQL to run where this login may not grant it, or where the column is entered
 *   for another field; `store_misconfigured` where it may not enter columns
 */
export function registerColumn(database: TokenvaultDatabase, table: TokenTable, field: string): Promise<void> {
  const entry = { schema: table.schema, table: table.table, column: table.tokenName }
  return namingFailures(() =>
    inTransaction(database, async transaction => {
      await grantToAuditor(transaction, entry)
      const problem = await findUnreadable(transaction, entry)
      if (problem !== undefined)
        throw new TokenvaultError(
          'table_unsuitable',
          `tokenvault_auditor cannot read the tokens, so that nobody could prove them, and this login may not change that; as the owner of the table: ${mendStatement(entry, problem)}`,
        )
      await sql`
        insert into pii_vault.token_columns (table_schema, table_name, column_name, field)
        values (${entry.schema}, ${entry.table}, ${entry.column}, ${field}) on conflict do nothing`.execute(transaction)
      const { rows } = await sql<{ field: string }>`
        select field from pii_vault.token_columns
        where (table_schema, table_name, column_name) = (${entry.schema}, ${entry.table}, ${entry.column})`.execute(
        transaction,
      )
      if (rows[0]?.field !== field)
        throw new TokenvaultError(
          'table_unsuitable',
          `column ${quote(entry.column)} of ${table.name} is entered for tokens of field ${rows[0]?.field}; --forget takes that back`,
        )
    }),
  )
}

/**
 * Takes a column out again, and its grant from the auditor where the table is still there.
 *
 * @param table as for findTokenTable; a table that is gone is found by its name
 * @returns what was taken out; undefined where no such column is entered
 */
export function forgetColumn(
  database: TokenvaultDatabase,
  table: string,
  column: string,
): Promise<TokenColumn | undefined> {
  const names = parseTableName(table)
  return namingFailures(() =>
    inTransaction(database, async transaction => {
      const entries = await readTokenColumns(transaction)
      // A bare name is looked for as SQL would do it, as long as it leads to one entry.
      const found = entries.filter(entry => {
        const full = `"${entry.schema.replaceAll('"', '""')}"."${entry.table.replaceAll('"', '""')}"`
        return entry.column === column && names.some(name => full === name || full.endsWith(`.${name}`))
      })
      const [entry] = found
      if (entry === undefined) return undefined
      if (found.length > 1)
        throw new TokenvaultError(
          'table_unsuitable',
          'several tables of that name have such a column; name the schema, too',
        )
      await sql`
        delete from pii_vault.token_columns
        where (table_schema, table_name, column_name) = (${entry.schema}, ${entry.table}, ${entry.column})`.execute(
        transaction,
      )
      const { schema, table: name } = entry
      const revoke = `REVOKE SELECT (${quote(entry.column)}) ON ${quote(schema)}.${quote(name)} FROM tokenvault_auditor`
      await tryStatements(transaction, [revoke])
      return entry
    }),
  )
}

/** Every column that is entered, in order. */
export async function readTokenColumns(database: TokenvaultDatabase): Promise<readonly TokenColumn[]> {
  const { rows } = await sql<TokenColumn>`
    select table_schema as schema, table_name as table, column_name as column, field from pii_vault.token_columns
    order by 1, 2, 3`.execute(database)
  return rows
}

/** Why the auditor cannot read a column that is entered, in words that hold its name. */
export type Unreadable = 'gone' | 'not a table' | 'not granted' | 'rows hidden'

/** Any role may ask. @returns undefined where the auditor can read the column whole */
export async function findUnreadable(
  database: TokenvaultDatabase,
  { schema, table, column }: Omit<TokenColumn, 'field'>,
): Promise<Unreadable | undefined> {
  const { rows } = await sql<{ kind: string; is_granted: boolean; hides_rows: boolean }>`
    select relkind as kind,
      has_schema_privilege(auditor.oid, n.oid, 'usage') and has_column_privilege(auditor.oid, c.oid, attnum, 'select') as is_granted,
      relrowsecurity and not coalesce((
        select bool_or(polpermissive and polcmd in ('r', '*') and auditor.oid = any (polroles) and pg_get_expr(polqual, polrelid) = 'true')
          and bool_and(polpermissive)
        from pg_policy where polrelid = c.oid), false) as hides_rows
    from pg_class c join pg_namespace n on n.oid = relnamespace
    join pg_roles auditor on rolname = 'tokenvault_auditor'
    join pg_attribute on attrelid = c.oid and attnum > 0 and not attisdropped
    where nspname = ${schema} and relname = ${table} and attname = ${column}`.execute(database)
  const [found] = rows
  if (found === undefined) return 'gone'
  if (found.kind !== 'r' && found.kind !== 'p') return 'not a table'
  if (!found.is_granted) return 'not granted'
  return found.hides_rows ? 'rows hidden' : undefined
}

/** Gives the auditor the columns back that it lost, as a restore without roles takes them. @returns the SQL that was run */
export async function regrantTokenColumns(transaction: TokenvaultDatabase): Promise<readonly string[]> {
  const run: string[] = []
  for (const entry of await readTokenColumns(transaction)) {
    if ((await findUnreadable(transaction, entry)) !== 'not granted') continue
    await grantToAuditor(transaction, entry)
    if ((await findUnreadable(transaction, entry)) !== 'not granted') run.push(...grantStatements(entry))
  }
  return run
}

/** Some of it may be granted already, by somebody who may. */
async function grantToAuditor(transaction: TokenvaultDatabase, entry: Omit<TokenColumn, 'field'>): Promise<void> {
  if ((await findUnreadable(transaction, entry)) === 'not granted')
    await tryStatements(transaction, grantStatements(entry))
}

/** A failure is undone, and shows in what is found afterwards. Whoever may not grant gets a warning and no error. */
async function tryStatements(transaction: TokenvaultDatabase, statements: readonly string[]): Promise<void> {
  for (const statement of statements) {
    await sql`savepoint tried`.execute(transaction)
    try {
      await sql.raw(statement).execute(transaction)
      await sql`release savepoint tried`.execute(transaction)
    } catch {
      // Where the connection is gone this fails too, and says why.
      await sql`rollback to savepoint tried`.execute(transaction)
    }
  }
}
