import { sql } from 'kysely'
import { namingFailures, type TokenvaultDatabase } from './database.ts'

/** What a server says of itself, to a session of any role. */
export interface ServerFacts {
  /** 18 for 18.1. */
  readonly version: number
  readonly takesWrites: boolean
  /** Of the connection between the server and whoever connected to it, which may be a pooler. */
  readonly hasTls: boolean
  /** Over a socket or the loopback interface. */
  readonly isOnThisHost: boolean
  /** Whether the database has been migrated, by whatever release. */
  readonly isMigrated: boolean
  /** Milliseconds since 1970 by the server's clock. */
  readonly nowMs: number
}

/** @throws TokenvaultError `store_unavailable`, `store_misconfigured` */
export async function inspectServer(database: TokenvaultDatabase): Promise<ServerFacts> {
  const { rows } = await namingFailures(() =>
    sql<ServerFacts>`
      select current_setting('server_version_num')::int / 10000 as version,
        not pg_is_in_recovery() and current_setting('transaction_read_only') = 'off' as "takesWrites",
        coalesce((select ssl from pg_stat_ssl where pid = pg_backend_pid()), false) as "hasTls",
        coalesce(inet_server_addr() <<= '127.0.0.0/8' or inet_server_addr() = '::1', true) as "isOnThisHost",
        to_regnamespace('pii_vault') is not null as "isMigrated",
        (extract(epoch from clock_timestamp()) * 1000)::float8 as "nowMs"`.execute(database),
  )
  return rows[0]!
}

/** The role of a session, and what it may do besides what grants give it. */
export interface RoleFacts {
  readonly name: string
  /** Whether it has the rights of the role that is asked about, by being it or by a membership. */
  readonly isMember: boolean
  /** Attributes that go beyond grants: `SUPERUSER`, `BYPASSRLS` … */
  readonly attributes: readonly string[]
  /** Other roles whose rights it has, or may take; empty for a superuser, who may take all. */
  readonly memberships: readonly string[]
}

/**
 * @param expected role whose rights the session should have
 * @throws TokenvaultError `store_unavailable`, `store_misconfigured`
 */
export async function inspectRole(database: TokenvaultDatabase, expected: string): Promise<RoleFacts> {
  const { rows } = await namingFailures(() =>
    sql<RoleFacts>`
      select rolname as name,
        exists (select from pg_roles as other where other.rolname = ${expected} and pg_has_role(other.oid, 'usage')) as "isMember",
        array_remove(array[
          case when rolsuper then 'SUPERUSER' end, case when rolcreaterole then 'CREATEROLE' end,
          case when rolcreatedb then 'CREATEDB' end, case when rolreplication then 'REPLICATION' end,
          case when rolbypassrls then 'BYPASSRLS' end], null) as attributes,
        array(select other.rolname::text from pg_roles as other
          where not own.rolsuper and other.rolname not in (own.rolname, ${expected}) and pg_has_role(other.oid, 'member')
          order by 1) as memberships
      from pg_roles as own where rolname = current_user`.execute(database),
  )
  return rows[0]!
}
