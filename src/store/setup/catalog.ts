import { readFileSync } from 'node:fs'
import { type RawBuilder, sql } from 'kysely'
import type { TokenvaultDatabase } from '../postgres/database.ts'

/**
 * One fact that the catalog of a database holds about our schemas, roles and grants. What the facts of a database have to
 * be is not written by hand: catalog.json holds those of a database to which all migrations were applied.
 */
export interface Fact {
  readonly what:
    | 'role' // `is` LOGIN or NOLOGIN
    | 'privileged' // a role that may more than any of ours should; `is` says by what
    | 'object' // there is such an object; of a function `is` is the MD5 of its source, of a column its type
    | 'attribute' // of a function or table, as ALTER takes it
    | 'owner' // `is` the role that owns it
    | 'lost' // a privilege that the owner itself lacks
    | 'grant' // `is` the privilege, `to` the grantee
    | 'default' // a default privilege, for objects that are made in future
  /** As GRANT and ALTER name it: `TABLE pii_vault.keys`; `DATABASE` is the one that is asked. */
  readonly on: string
  readonly is: string
  readonly to: string
}

/** A fact of a database as it is. */
export interface FoundFact extends Fact {
  /** Whether the object belongs to who asks, to a superuser or to the database's owner, all of whom could replace it anyway. */
  readonly isTrusted: boolean
  /** Made by the workers on the way: it stands in no list, and is owned and granted as its parent. */
  readonly isPartition: boolean
}

/** The facts of a database to which all migrations were applied. */
export function readExpectedFacts(): readonly Fact[] {
  return JSON.parse(readFileSync(new URL('catalog.json', import.meta.url), 'utf8'))
}

/** Attributes that none of our roles may have, and roles that bring their like. */
const attributes = ['super', 'createrole', 'createdb', 'replication', 'bypassrls']
const privilegedGroups = ['pg_read_all_data', 'pg_write_all_data', 'pg_read_server_files', 'pg_write_server_files']
const privilegedRoles = [...privilegedGroups, 'pg_execute_server_program', 'tokenvault_owner']

/**
 * Reads the facts of a database, as whichever role: the catalog is there for everybody to read.
 *
 * @param transaction in which names are not looked up in any schema of the database
 * @param expected names the objects of schema public and the roles that are ours; absent for a server
 *   that has no others but superusers
 */
export async function readFacts(
  transaction: TokenvaultDatabase,
  expected?: readonly Fact[],
): Promise<readonly FoundFact[]> {
  await sql`select set_config('search_path', '', true), set_config('quote_all_identifiers', 'off', true)`.execute(
    transaction,
  )
  const roles = expected?.filter(({ what }) => what === 'role').map(({ on }) => on)
  const inPublic = expected?.filter(({ what, on }) => what === 'object' && on.startsWith('TABLE public.'))
  const names = inPublic?.map(({ on }) => on.slice('TABLE '.length))
  const { rows } = await facts(
    roles === undefined ? sql`rolname ~ '^tokenvault_' and not rolsuper` : sql`rolname = any (${roles}::text[])`,
    names === undefined ? sql`true` : sql`format('%I.%I', nspname, relname) = any (${names}::text[])`,
  ).execute(transaction)
  return rows
}

function facts(isOurRole: RawBuilder<unknown>, isOurs: RawBuilder<unknown>): RawBuilder<FoundFact> {
  return sql<FoundFact>`
    with our_role as materialized (select oid, rolname, rolcanlogin from pg_roles where ${isOurRole}),
    trusted as materialized (
      select oid from pg_roles where rolsuper or rolname = current_user
      union select datdba from pg_database where datname = current_database()),
    home as materialized (
      select oid, nspname, nspowner, nspacl from pg_namespace where nspname in ('analyst', 'ingest', 'pii_vault', 'public', 'tokenvault_migrations')),
    relation as materialized (
      select c.oid, nspname, relname, relkind, relowner, relacl, relispartition, relrowsecurity
      from pg_class c join home n on n.oid = relnamespace
      where relkind in ('r', 'p', 'v', 'm', 'S', 'f') and (nspname <> 'public' or ${isOurs})),
    function as materialized (
      select p.*, p.oid::regprocedure::text as name from pg_proc p join home n on n.oid = pronamespace
      where nspname in ('analyst', 'ingest', 'pii_vault')),
    -- Each thing that has an owner and an access list. Others may have grants on the database and on schema public.
    thing as materialized (
      select 'DATABASE' as name, datdba as owner, datacl as acl, 'd'::"char" as kind, true as is_shared, false as is_partition
        from pg_database where datname = current_database()
      union all
      select 'SCHEMA ' || quote_ident(nspname), nspowner, nspacl, 'n', nspname = 'public', false from home
      union all
      select case relkind when 'S' then 'SEQUENCE ' else 'TABLE ' end || format('%I.%I', nspname, relname), relowner, relacl,
        case relkind when 'S' then 's' else 'r' end::"char", nspname = 'public', relispartition from relation
      union all
      select 'FUNCTION ' || name, proowner, proacl, 'f', false, false from function
      union all
      select 'TYPE ' || format_type(t.oid, null), typowner, typacl, 'T', false, false
        from pg_type t join home n on n.oid = typnamespace left join pg_class c on c.oid = typrelid
        where nspname in ('analyst', 'ingest', 'pii_vault') and (typtype in ('d', 'e', 'r') or c.relkind = 'c')),
    fact as (
      select 'role' as what, rolname::text as on, case when rolcanlogin then 'LOGIN' else 'NOLOGIN' end as is, '' as to, false as partition, 0::oid as owner
        from our_role
      union all
      select 'privileged', rolname, by, '', false, 0 from our_role, lateral (
        select 'attribute ' || upper(attribute) as by from (select to_jsonb(r) as all_of from pg_roles r where r.oid = our_role.oid) as role,
          unnest(${attributes}::text[]) as attribute where (all_of ->> ('rol' || attribute))::boolean
        union all
        select 'membership in ' || r.rolname from pg_roles r
          where r.oid <> our_role.oid and (r.rolsuper or r.rolname = any (${privilegedRoles}::text[])) and exists (
            with recursive member_of (oid) as (
              select our_role.oid union select roleid from pg_auth_members join member_of on member = member_of.oid)
            select from member_of where member_of.oid = r.oid)) as more
      union all
      select 'object', name, '', '', is_partition, owner from thing
        where kind <> 'd' and name !~ '^(FUNCTION|SCHEMA public|SCHEMA tokenvault_migrations|TABLE tokenvault_migrations)'
      union all
      select 'object', 'FUNCTION ' || name, md5(prosrc), '', false, proowner from function
      union all
      select 'attribute', 'FUNCTION ' || name, 'SECURITY DEFINER', '', false, proowner from function where prosecdef
      union all
      select 'attribute', 'FUNCTION ' || name, 'SET ' || setting, '', false, proowner from function, unnest(proconfig) as setting
      union all
      select 'attribute', 'TABLE ' || format('%I.%I', nspname, relname), 'ROW LEVEL SECURITY', '', relispartition, relowner
        from relation where relrowsecurity
      union all
      select 'object', format('COLUMN %I.%I.%I', nspname, relname, attname),
          case nspname when 'public' then '' else format_type(atttypid, atttypmod) || case when attnotnull then ' not null' else '' end end,
          '', relispartition, relowner
        from relation join pg_attribute on attrelid = relation.oid
        where attnum > 0 and not attisdropped and relkind in ('r', 'p', 'v') and nspname <> 'tokenvault_migrations'
      union all
      select 'object', format('INDEX %I ON %I.%I', i.relname, nspname, relation.relname),
          case when indisvalid then '' else 'not valid' end, '', relation.relispartition, relation.relowner
        from relation join pg_index on indrelid = relation.oid join pg_class i on i.oid = indexrelid where nspname <> 'tokenvault_migrations'
      union all
      select 'object', format('CONSTRAINT %I ON %I.%I', conname, nspname, relname),
          case when convalidated then '' else 'not validated' end, '', relispartition, relowner
        from relation join pg_constraint on conrelid = relation.oid where contype <> 'n' and nspname <> 'tokenvault_migrations'
      union all
      select 'object', format('TRIGGER %I ON %I.%I', tgname, nspname, relname),
          case tgenabled when 'O' then '' else 'not enabled' end, '', relispartition, relowner
        from relation join pg_trigger on tgrelid = relation.oid where not tgisinternal
      union all
      select 'object', format('RULE %I ON %I.%I', rulename, nspname, relname), '', '', relispartition, relowner
        from relation join pg_rewrite on ev_class = relation.oid where rulename <> '_RETURN'
      union all
      select 'object', format('POLICY %I ON %I.%I', polname, nspname, relname), '', '', relispartition, relowner
        from relation join pg_policy on polrelid = relation.oid
      union all
      -- Whoever migrates owns its own schema, and schema public belongs to the owner of the database.
      select 'owner', name, pg_get_userbyid(owner), '', is_partition, owner from thing
        where kind <> 'd' and name !~ '(^SCHEMA public$| tokenvault_migrations\\M)'
      union all
      select 'lost', name, privilege_type, pg_get_userbyid(owner), is_partition, owner from thing, lateral (
        select privilege_type from aclexplode(acldefault(kind, owner)) where grantee = owner
        except select privilege_type from aclexplode(acl) where grantee = owner) as lost
        where acl is not null and name <> 'SCHEMA public' and kind <> 'd'
      union all
      select 'grant', name, case when is_grantable then 'GRANT OPTION FOR ' else '' end || privilege_type,
          case grantee when 0 then 'PUBLIC' else quote_ident(pg_get_userbyid(grantee)) end, is_partition, owner
        from thing, aclexplode(coalesce(acl, acldefault(kind, owner)))
        where grantee <> owner and (not is_shared or grantee = 0 or grantee in (select oid from our_role))
      union all
      select 'grant', 'TABLE ' || format('%I.%I', nspname, relname), format('%s (%I)', privilege_type, attname),
          case grantee when 0 then 'PUBLIC' else quote_ident(pg_get_userbyid(grantee)) end, relispartition, relowner
        from relation join pg_attribute on attrelid = relation.oid and attacl is not null, aclexplode(attacl)
        where grantee <> relowner and (nspname <> 'public' or grantee = 0 or grantee in (select oid from our_role))
      union all
      select 'default', format('FOR ROLE %I', pg_get_userbyid(defaclrole)) || coalesce(' IN SCHEMA ' || quote_ident(n.nspname), ''),
          privilege_type || ' ON ' || case defaclobjtype when 'r' then 'TABLES' when 'S' then 'SEQUENCES' when 'f' then 'FUNCTIONS'
            when 'T' then 'TYPES' when 'n' then 'SCHEMAS' else 'LARGE OBJECTS' end,
          case grantee when 0 then 'PUBLIC' else quote_ident(pg_get_userbyid(grantee)) end, false, 0
        from pg_default_acl left join pg_namespace n on n.oid = defaclnamespace, aclexplode(defaclacl)
        where (pg_get_userbyid(defaclrole) = 'tokenvault_owner' or n.nspname in ('analyst', 'ingest', 'pii_vault')) and grantee <> defaclrole
          -- What Postgres gives by itself, and each migration takes back.
          and not (defaclnamespace = 0 and grantee = 0 and defaclobjtype in ('f', 'T')))
    select what, fact.on, fact.is, fact.to, partition as "isPartition", fact.owner in (select oid from trusted) as "isTrusted" from fact
    order by 1, 2, 3, 4`
}
