import { type RawBuilder, sql } from 'kysely'
import { TokenvaultError } from '../../errors.ts'
import type { Field } from '../../vault/fields/fields.ts'
import { namingFailures, type TokenvaultDatabase } from '../postgres/database.ts'
import { parseTableName } from './table-name.ts'

/** How the tokens of a field are spelled. */
type TokenFormat = Field['format']

/** What a table is asked for: texts of a command line. */
export interface WantedColumns {
  readonly table: string
  /** Column of clear values. */
  readonly column: string
  /** Column that gets tokens. */
  readonly to: string
  /** Columns of a unique index, where the primary key is not to be used. */
  readonly key?: readonly string[] | undefined
  readonly format: TokenFormat
}

/** A column as SQL needs it. */
export interface Column {
  readonly name: string
  /** As casts name it. */
  readonly type: string
}

/** A table whose column of clear values can be read, and whose column of tokens can be filled, without doubt about any row. */
export interface TokenTable {
  readonly oid: string
  readonly schema: string
  readonly table: string
  /** Both, quoted where SQL needs it. */
  readonly name: string
  readonly key: readonly Column[]
  readonly value: Column
  /** Absent where the column is missing. */
  readonly token: Column | undefined
  readonly tokenName: string
  readonly format: TokenFormat
  /** Schemas of the types of the key, in which their operators are. */
  readonly typeSchemas: readonly string[]
  /** Triggers that run for each row that is updated. */
  readonly triggers: readonly string[]
  /** Rows, roughly; undefined where the server has not counted yet. */
  readonly estimate: number | undefined
}

interface ColumnFacts {
  readonly name: string
  readonly type: string
  /** That of the type below every domain. */
  readonly base: string
  readonly type_schema: string
  readonly is_not_null: boolean
  readonly is_generated: boolean
  readonly is_partition_key: boolean
  readonly may_select: boolean
  readonly may_update: boolean
}

interface TableFacts {
  readonly oid: string
  readonly schema: string
  readonly table: string
  readonly name: string
  readonly kind: string
  readonly owner: string
  readonly hides_rows: boolean
  readonly has_heirs: boolean
  readonly has_foreign: boolean
  readonly estimate: number | null
}

interface IndexFacts {
  readonly is_primary: boolean
  readonly columns: readonly string[]
  readonly is_usable: boolean
}

/** What a column may be read from, and how: the types that every value of theirs has one text in. */
const readableTypes: ReadonlySet<string> = new Set(['text', 'character varying', 'character', 'citext', 'inet', 'uuid'])

/** The type of a new column for tokens. */
export const tokenColumnType: Readonly<Record<TokenFormat, string>> = {
  text: 'varchar(256)',
  uuid: 'uuid',
  inet: 'inet',
}

/**
 * Looks whether a column of a table can be filled with the tokens of another, and refuses by name whatever would hide rows, make
 * it unclear which row is which, or let an error write a row into the log of the server.
 *
 * @throws TokenvaultError `table_unsuitable`, which names tables, columns and types and no value; `store_unavailable`,
 *   `store_misconfigured`
 */
export function findTokenTable(database: TokenvaultDatabase, wanted: WantedColumns): Promise<TokenTable> {
  return namingFailures(async () => {
    const facts = await findTable(database, wanted.table)
    refuseTable(facts)
    const columns = await readColumns(database, facts.oid)
    const value = pickColumn(columns, wanted.column)
    if (value === undefined) throw unsuitable(`table ${facts.name} has no column ${quote(wanted.column)}`)
    refuseValueColumn(facts, value)
    const token = pickColumn(columns, wanted.to)
    if (token?.name === value.name) throw unsuitable('--column and --to name the same column')
    const key = pickKey(facts, await readIndexes(database, facts.oid), wanted.key, columns)
    if (key.some(({ name }) => name === value.name))
      throw unsuitable(
        `column ${quote(value.name)} is part of the key of ${facts.name}, by which rows are updated, and would go back as a parameter; name the columns of another unique index with --key`,
      )
    if (token !== undefined) await refuseTokenColumn(database, facts, token, key, wanted.format)
    return {
      ...{ oid: facts.oid, schema: facts.schema, table: facts.table, name: facts.name },
      key: key.map(({ name, type }) => ({ name, type })),
      value: { name: value.name, type: value.base },
      token: token === undefined ? undefined : { name: token.name, type: token.type },
      tokenName: token?.name ?? unquoted(wanted.to),
      format: wanted.format,
      typeSchemas: [...new Set(key.map(({ type_schema: schema }) => schema).filter(schema => schema !== 'pg_catalog'))],
      triggers: await readTriggers(database, facts.oid),
      estimate: facts.estimate ?? undefined,
    }
  })
}

/** The SQL that makes the column. */
export function addColumnStatement(table: Pick<TokenTable, 'name' | 'tokenName' | 'format'>): string {
  return `ALTER TABLE ${table.name} ADD COLUMN ${quote(table.tokenName)} ${tokenColumnType[table.format]}`
}

/** A name as SQL reads it, whatever it holds. */
export function quote(name: string): string {
  return /^[a-z_][a-z0-9_]*$/.test(name) ? name : `"${name.replaceAll('"', '""')}"`
}

function unsuitable(detail: string): TokenvaultError {
  return new TokenvaultError('table_unsuitable', detail)
}

async function findTable(database: TokenvaultDatabase, text: string): Promise<TableFacts> {
  for (const name of parseTableName(text)) {
    const { rows } = await sql<TableFacts>`
      select c.oid::text, nspname as schema, relname as table, format('%I.%I', nspname, relname) as name, relkind as kind,
        pg_get_userbyid(relowner) as owner, row_security_active(c.oid) as hides_rows,
        exists (select * from pg_inherits join pg_class heir on heir.oid = inhrelid
          where inhparent = c.oid and not heir.relispartition) as has_heirs,
        exists (select * from pg_partition_tree(c.oid) join pg_class part on part.oid = relid where part.relkind = 'f') as has_foreign,
        (select case when min(part.reltuples) >= 0 then sum(part.reltuples)::float8 end from pg_class part
          where part.oid = c.oid and c.relkind = 'r' or part.oid in (select relid from pg_partition_tree(c.oid) where isleaf)) as estimate
      from pg_class c join pg_namespace n on n.oid = relnamespace where c.oid = to_regclass(${name})`.execute(database)
    if (rows[0] !== undefined) return rows[0]
  }
  throw unsuitable('no table of the name in --table is found; write it as in SQL, with its schema')
}

const kinds: Readonly<Record<string, string>> = {
  v: 'a view: name the table that holds the rows',
  m: 'a materialized view: name the table that holds the rows',
  f: 'a foreign table: run the backfill where its rows are',
  i: 'an index',
  I: 'an index',
  S: 'a sequence',
  c: 'a type',
  t: 'a TOAST table',
}

function refuseTable({ name, schema, kind, owner, hides_rows, has_heirs, has_foreign }: TableFacts): void {
  if (
    /^(pg_.*|information_schema|pii_vault|ingest|tokenvault_migrations)$/.test(schema) ||
    owner === 'tokenvault_owner'
  )
    throw unsuitable(`${name} belongs to Postgres or to tokenvault itself`)
  if (kinds[kind] !== undefined) throw unsuitable(`${name} is ${kinds[kind]}`)
  if (has_foreign) throw unsuitable(`a partition of ${name} is a foreign table: name the other partitions one by one`)
  if (has_heirs) throw unsuitable(`other tables inherit from ${name}, and its key does not hold for their rows`)
  if (hides_rows)
    throw unsuitable(
      `row-level security hides rows of ${name} from this login; take one that it does not hold for, such as the owner of the table`,
    )
}

async function readColumns(database: TokenvaultDatabase, oid: string): Promise<readonly ColumnFacts[]> {
  const { rows } = await sql<ColumnFacts>`
    with recursive base (attnum, typid) as (
      select attnum, atttypid from pg_attribute where attrelid = ${oid}::oid and attnum > 0 and not attisdropped
      union all
      select attnum, typbasetype from base join pg_type t on t.oid = typid where typtype = 'd')
    select attname as name, format_type(atttypid, atttypmod) as type, nspname as type_schema,
      case when nspname <> 'pg_catalog' then typname::text else format_type(typid, null) end as base,
      attnotnull as is_not_null, attgenerated <> '' as is_generated,
      exists (select * from pg_partitioned_table where partrelid = attrelid and a.attnum = any (partattrs)) as is_partition_key,
      has_column_privilege(attrelid, a.attnum, 'select') as may_select,
      has_column_privilege(attrelid, a.attnum, 'update') as may_update
    from pg_attribute a
    join base on base.attnum = a.attnum join pg_type t on t.oid = typid and typtype <> 'd' join pg_namespace n on n.oid = typnamespace
    where attrelid = ${oid}::oid`.execute(database)
  return rows
}

/** The column of exactly the name or, as in SQL, the one in lower case. */
function pickColumn(columns: readonly ColumnFacts[], text: string): ColumnFacts | undefined {
  const find = (name: string) => columns.find(column => column.name === name)
  return find(text) ?? find(unquoted(text))
}

function unquoted(text: string): string {
  const quoted = /^"((?:[^"]|"")+)"$/.exec(text)?.[1]
  return quoted === undefined ? text : quoted.replaceAll('""', '"')
}

function refuseValueColumn({ name }: TableFacts, column: ColumnFacts): void {
  const called = `column ${quote(column.name)} of ${name}`
  if (column.is_generated) throw unsuitable(`${called} is generated: name the column that it is made from`)
  if (!readableTypes.has(column.base))
    throw unsuitable(`${called} is of type ${column.type}; text, varchar, char, citext, inet and uuid can be read`)
  if (!column.may_select) throw unsuitable(`this login may not read ${called}`)
}

async function readIndexes(database: TokenvaultDatabase, oid: string): Promise<readonly IndexFacts[]> {
  const { rows } = await sql<IndexFacts>`
    select indisprimary as is_primary,
      array(select attname::text from unnest(indkey::int2[]) with ordinality as part (attnum, place)
        join pg_attribute a on a.attrelid = indrelid and a.attnum = part.attnum where place <= indnkeyatts order by place) as columns,
      amname = 'btree' and indisvalid and indimmediate and indpred is null and indexprs is null and not exists (
        select * from pg_attribute a where a.attrelid = indrelid and not attnotnull
          and a.attnum = any ((indkey::int2[])[0:indnkeyatts - 1])) as is_usable
    from pg_index join pg_class i on i.oid = indexrelid join pg_am on pg_am.oid = relam
    where indrelid = ${oid}::oid and indisunique order by indisprimary desc, indexrelid`.execute(database)
  return rows
}

function pickKey(
  { name }: TableFacts,
  indexes: readonly IndexFacts[],
  wanted: readonly string[] | undefined,
  columns: readonly ColumnFacts[],
): readonly ColumnFacts[] {
  const usable = indexes.filter(({ is_usable }) => is_usable)
  const names = wanted?.map(text => pickColumn(columns, text)?.name ?? text).toSorted()
  const index = usable.find(({ is_primary, columns: own }) => {
    return names === undefined ? is_primary : JSON.stringify(own.toSorted()) === JSON.stringify(names)
  })
  if (index !== undefined) return index.columns.map(column => columns.find(({ name }) => name === column)!)
  const which = wanted === undefined ? 'no primary key' : 'no unique index on exactly the columns of --key'
  throw unsuitable(
    `${name} has ${which} by which rows can be told apart; name the columns of a unique index of NOT NULL columns with --key, or make one: CREATE UNIQUE INDEX CONCURRENTLY ON ${name} (…)`,
  )
}

async function refuseTokenColumn(
  database: TokenvaultDatabase,
  facts: TableFacts,
  token: ColumnFacts,
  key: readonly ColumnFacts[],
  format: TokenFormat,
): Promise<void> {
  const called = `column ${quote(token.name)} of ${facts.name}`
  if (token.is_generated) throw unsuitable(`${called} is generated, and takes no tokens`)
  if (!takesTokens(token.type, format))
    throw unsuitable(
      `${called} is of type ${token.type}, and tokens of this field need ${tokenColumnType[format]}: ALTER TABLE ${facts.name} ALTER COLUMN ${quote(token.name)} TYPE ${tokenColumnType[format]}`,
    )
  if (token.is_not_null)
    throw unsuitable(
      `${called} is NOT NULL, so that nothing tells which rows lack a token: drop that until it is filled`,
    )
  if (key.some(({ name }) => name === token.name))
    throw unsuitable(`${called} is part of the key that rows are found by`)
  if (token.is_partition_key) throw unsuitable(`${called} decides about partitions, and rows would move`)
  if (!token.may_update || !token.may_select) throw unsuitable(`this login may not update ${called}`)
  const { rows } = await findDangers(facts.oid, token.name).execute(database)
  if (rows[0] !== undefined)
    throw unsuitable(
      `${rows[0].kind} ${quote(rows[0].name)} on ${facts.name} would, where it refuses a row, write values of that row into the log of the server: drop it, and make it again after the backfill`,
    )
}

/**
 * What can refuse an update with a message of which the detail repeats other columns: checks of the column, checks that were not
 * validated, and indexes and keys that hold the column beside others.
 */
function findDangers(oid: string, column: string): RawBuilder<{ kind: string; name: string }> {
  return sql`
    with tree as (
      select ${oid}::oid as relid union select relid::oid from pg_partition_tree(${oid}::oid)),
    part as (
      select relid, attnum from tree join pg_attribute on attrelid = relid and attname = ${column} and not attisdropped)
    select 'constraint' as kind, conname::text as name from part join pg_constraint on conrelid = relid
    where contype in ('c', 'x', 'f', 'u', 'p') and (contype = 'c' and not convalidated
      or attnum = any (conkey) and (contype in ('c', 'x') or cardinality(conkey) > 1))
    union all
    select 'index', i.relname::text from part join pg_index on indrelid = relid join pg_class i on i.oid = indexrelid
    where indisunique and not exists (select * from pg_constraint where conindid = indexrelid) and exists (
      select * from pg_depend where classid = 'pg_class'::regclass and objid = indexrelid and refobjid = indrelid and refobjsubid = attnum)
      and (indnatts > 1 or indexprs is not null)
    order by 1, 2 limit 1`
}

/** @param type as format_type gives it */
function takesTokens(type: string, format: TokenFormat): boolean {
  if (format !== 'text') return type === format
  const length = /^character varying(?:\((\d+)\))?$/.exec(type)
  return type === 'text' || (length !== null && Number(length[1] ?? 256) >= 256)
}

async function readTriggers(database: TokenvaultDatabase, oid: string): Promise<readonly string[]> {
  const { rows } = await sql<{ name: string }>`
    select distinct tgname::text as name from pg_trigger
    where tgrelid = ${oid}::oid and not tgisinternal and tgenabled in ('O', 'A') and tgtype & 16 <> 0 order by 1`.execute(
    database,
  )
  return rows.map(({ name }) => name)
}
