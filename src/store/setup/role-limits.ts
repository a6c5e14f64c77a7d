import { sql } from 'kysely'
import type { TokenvaultDatabase } from '../postgres/database.ts'
import type { SetupFinding } from './findings.ts'
import { loginRoles } from './role-passwords.ts'

interface Unlimited {
  /** Roles without a limit of connections. */
  readonly connections: readonly string[]
  /** Roles without a limit of temporary files, neither for the database nor in general. */
  readonly files: readonly string[]
  /** Functions of Postgres that everybody may call, and none of our roles needs. */
  readonly functions: readonly string[]
  /** Databases besides this one in which an analyst or auditor may do what is taken from everybody here. */
  readonly databases: readonly string[]
}

/** One function stands for each kind that the migration takes from everybody. */
const takenFunctions = [
  'pg_advisory_lock(bigint)',
  'lo_create(oid)',
  'pg_logical_emit_message(boolean,text,bytea,boolean)',
  'pg_terminate_backend(integer,bigint)',
]

/**
 * Looks for limits that the migrations could not set, since they need a superuser or the maker of the roles, or that somebody
 * took away. Nothing is set again: that may have been meant.
 */
export async function checkRoleLimits(transaction: TokenvaultDatabase): Promise<readonly SetupFinding[]> {
  const { rows } = await sql<Unlimited>`
    select
      array(select rolname::text from pg_roles where rolname = any (${loginRoles}::text[]) and rolconnlimit = -1
        order by 1) as connections,
      array(select rolname::text from pg_roles as role where rolname = any (${loginRoles}::text[]) and not exists (
        select from pg_db_role_setting, unnest(setconfig) as entry
        where setrole = role.oid and starts_with(entry, 'temp_file_limit=') and entry <> 'temp_file_limit=-1'
          and setdatabase in (0, (select oid from pg_database where datname = current_database())))
        order by 1) as files,
      array(select name from unnest(${takenFunctions}::text[]) as name
        where has_function_privilege('public', to_regprocedure('pg_catalog.' || name), 'execute') order by 1) as functions,
      array(select datname::text from pg_database
        where datname in ('postgres', 'template1') and datname <> current_database()
          and has_database_privilege('public', oid, 'connect') order by 1) as databases`.execute(transaction)
  const { connections, files, functions, databases } = rows[0]!
  const findings: [what: readonly string[], says: string, remedy: string][] = [
    [
      connections,
      'may take every connection of the server',
      'ALTER ROLE … CONNECTION LIMIT …, as the maker of the role or a superuser',
    ],
    [
      files,
      'may fill the disk of the server with temporary files',
      'as a superuser, or where the server allows it to you: ALTER ROLE … IN DATABASE … SET temp_file_limit = …',
    ],
    [
      functions,
      'may be called by everybody, analysts and auditors too',
      'run `tokenvault migrate` as a superuser for a new database, or REVOKE EXECUTE ON FUNCTION … FROM PUBLIC',
    ],
    [
      databases,
      'may be connected to by everybody, analysts and auditors too',
      'REVOKE CONNECT, TEMPORARY ON DATABASE … FROM PUBLIC, or name one database for each of our roles in pg_hba.conf',
    ],
  ]
  return findings
    .filter(([what]) => what.length > 0)
    .map(([what, says, remedy]) => ({
      code: 'role_unlimited',
      status: 'warn',
      says: `${what.join(', ')} ${says}`,
      remedy,
    }))
}
