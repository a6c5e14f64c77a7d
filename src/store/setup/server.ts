import { sql } from 'kysely'
import type { TokenvaultDatabase } from '../postgres/database.ts'
import type { SetupFinding } from './findings.ts'

/** Grants of one role to another WITH SET and INHERIT are of Postgres 16. */
const oldestServer = 16

interface NeededSetting {
  readonly name: string
  readonly accepts: (value: string) => boolean
  readonly needed: string
  /** What goes wrong otherwise. */
  readonly why: string
}

/** What our SQL, the bodies of our functions and what we read of replies take for granted. */
const neededSettings: readonly NeededSetting[] = [
  { ...is('on'), name: 'standard_conforming_strings', why: 'functions would read their byte strings wrongly' },
  { ...is('on'), name: 'array_nulls', why: 'absent values would be stored as the text NULL' },
  { ...is('off'), name: 'transform_null_equals', why: 'comparisons would mean something else' },
  {
    ...is('origin'),
    name: 'session_replication_role',
    why: 'the triggers that keep the evidence append-only would not run',
  },
  { ...is('off'), name: 'default_transaction_read_only', why: 'nothing could be stored' },
  {
    name: 'DateStyle',
    accepts: value => /^ISO\b/i.test(value),
    needed: 'ISO',
    why: 'days would be read wrongly',
  },
  {
    name: 'search_path',
    accepts: value => !/^(?!\s*"?pg_catalog"?\s*(,|$)).*\bpg_catalog\b/i.test(value),
    needed: 'a list without pg_catalog, or with pg_catalog first',
    why: 'functions of others would be called in place of those of Postgres',
  },
]

function is(value: string): Pick<NeededSetting, 'accepts' | 'needed'> {
  return { accepts: found => found === value, needed: value }
}

/** The roles as which our processes log in, and whose settings count. */
const processRoles = [
  'tokenvault_worker',
  'tokenvault_api',
  'tokenvault_store',
  'tokenvault_privacy',
  'tokenvault_auditor',
]

interface DatabaseRow {
  readonly encoding: string
  readonly collation: string | null
  readonly found_collation: string | null
  readonly has_language: boolean
  readonly has_public: boolean
  readonly database: string
}

/**
 * Looks whether server and database have what the product takes for granted: version, encoding, settings. Any role may
 * ask. What is found cannot be mended from here.
 */
export async function checkServer(transaction: TokenvaultDatabase): Promise<readonly SetupFinding[]> {
  const found = await sql<{ version: number }>`
    select current_setting('server_version_num')::int / 10000 as version`.execute(transaction)
  const { version } = found.rows[0]!
  // What follows asks in words that older ones do not know.
  if (version < oldestServer)
    return [
      {
        code: 'server_version',
        status: 'fail',
        says: `the server is Postgres ${version}; ${oldestServer} or newer is needed`,
        remedy: 'upgrade it, or run another one beside it',
      },
    ]
  const { rows } = await sql<DatabaseRow>`
    select pg_encoding_to_char(encoding) as encoding, datcollversion as collation,
      pg_database_collation_actual_version(oid) as found_collation, quote_ident(datname) as database,
      exists (select from pg_language where lanname = 'plpgsql') as has_language,
      exists (select from pg_namespace where nspname = 'public') as has_public
    from pg_database where datname = current_database()`.execute(transaction)
  return [...describeDatabase(rows[0]!), ...(await checkSettings(transaction))]
}

function describeDatabase(row: DatabaseRow): readonly SetupFinding[] {
  const { encoding, collation, found_collation: actual, database, has_language, has_public } = row
  const findings: SetupFinding[] = []
  const fail = (code: SetupFinding['code'], says: string, remedy: string) =>
    findings.push({ code, status: 'fail', says, remedy })
  if (encoding !== 'UTF8')
    fail(
      'server_encoding',
      `the encoding of the database is ${encoding}; UTF8 is needed`,
      "create another: CREATE DATABASE … TEMPLATE template0 ENCODING 'UTF8'; an encoding cannot be changed",
    )
  if (!has_language) fail('server_language', 'the language plpgsql is missing', 'CREATE EXTENSION plpgsql')
  if (!has_public) fail('schema_missing', 'schema public is missing, where user_logins stands', 'CREATE SCHEMA public')
  if (collation !== null && actual !== null && collation !== actual)
    findings.push({
      code: 'server_collation',
      status: 'warn',
      says: `the collation of the database is of version ${collation}, and the server has ${actual}: an index may miss a message that is there`,
      remedy: `REINDEX DATABASE ${database}; then ALTER DATABASE ${database} REFRESH COLLATION VERSION`,
    })
  return findings
}

async function checkSettings(transaction: TokenvaultDatabase): Promise<readonly SetupFinding[]> {
  const found = await readSettings(
    transaction,
    neededSettings.map(({ name }) => name),
  )
  return neededSettings.flatMap(({ name, accepts, needed, why }) =>
    found
      .filter(setting => setting.name === name && !accepts(setting.value))
      .map(({ value, place }) => ({
        code: 'server_setting' as const,
        status: 'fail' as const,
        says: `${name} is ${JSON.stringify(value)}${place}, and ${needed} is needed: ${why}`,
        remedy: `set it where it was set: postgresql.conf, ALTER DATABASE or ALTER ROLE`,
      })),
  )
}

/** A value that sessions of ours have or will have, and where it is set. */
export interface Setting {
  readonly name: string
  readonly value: string
  /** Empty for the value of this session; otherwise words to stand behind it. */
  readonly place: string
}

/** The settings of this session, and those that the database and its roles have for sessions to come. */
export async function readSettings(
  transaction: TokenvaultDatabase,
  names: readonly string[],
): Promise<readonly Setting[]> {
  const { rows } = await sql<Setting>`
    select name, setting as value, '' as place from pg_settings where name = any (${names}::text[])
    union
    select name, value, place from (
      select split_part(entry, '=', 1) as name, substr(entry, strpos(entry, '=') + 1) as value,
        concat(case when setrole <> 0 then ' for role ' || pg_get_userbyid(setrole) end,
          case when setdatabase <> 0 then ' for the database' end) as place
      from pg_db_role_setting, unnest(setconfig) as entry
      where setdatabase in (0, (select oid from pg_database where datname = current_database()))
        and (setrole = 0 or pg_get_userbyid(setrole) = any (${processRoles}::text[]))) as later
    where name = any (${names}::text[])
    order by 1, 3`.execute(transaction)
  // What this session has of the database's settings is told with the database.
  return rows.filter(({ name, place }) => {
    return place !== '' || !rows.some(other => other.name === name && other.place === ' for the database')
  })
}
