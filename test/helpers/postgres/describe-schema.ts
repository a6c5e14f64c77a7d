import type pg from 'pg'

/** Everything that is not Postgres's own or an extension's. Partitions made on the way are left out: they follow the day. */
const ours = `nspname <> 'information_schema' AND nspname !~ '^pg_'`
const relation = `pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE ${ours} AND c.relname !~ '_[0-9]{4}_[0-9]{2}(_[0-9]{2})?(_|$)'`

/** Owners and grantees by name; whoever migrated is called so, because that is another role everywhere. */
const roleName = (oid: string) =>
  `CASE WHEN ${oid} = 0 THEN 'PUBLIC' WHEN ${oid} = current_user::regrole THEN '<migrator>' ELSE ${oid}::regrole::text END`

/** One line a grantee: what an access list gives to anybody but the owner. */
const grants = (acl: string, kind: string, owner: string) => `(
  SELECT string_agg(format(E'\\n  grant %s to %s', privileges, grantee), '' ORDER BY grantee) FROM (
    SELECT ${roleName('grantee')} AS grantee,
      string_agg(privilege_type || CASE WHEN is_grantable THEN ' with grant option' ELSE '' END, ', '
        ORDER BY privilege_type) AS privileges
    FROM aclexplode(coalesce(${acl}, acldefault('${kind}', ${owner}))) WHERE grantee <> ${owner} GROUP BY 1) g)`

/** Comments as `\\d+` of psql shows them, each in a line of its own. */
const comment = (description: string, indent: string) => `E'\\n${indent}-- ' || ${description}`

const parts: readonly string[] = [
  `SELECT concat('database', ${grants('datacl', 'd', 'datdba')}) FROM pg_database WHERE datname = current_database()`,

  `SELECT concat('role ', rolname,
     CASE WHEN rolcanlogin THEN ' login' END, CASE WHEN rolsuper THEN ' superuser' END, CASE WHEN rolinherit THEN ' inherit' END,
     CASE WHEN rolcreaterole THEN ' createrole' END, CASE WHEN rolcreatedb THEN ' createdb' END,
     CASE WHEN rolreplication THEN ' replication' END, CASE WHEN rolbypassrls THEN ' bypassrls' END,
     (SELECT string_agg(format(E'\\n  member of %s', roleid::regrole), '' ORDER BY roleid::regrole::text)
      FROM pg_auth_members WHERE member = r.oid))
   FROM pg_roles r WHERE rolname ~ '^tokenvault_' AND rolname <> current_user ORDER BY rolname`,

  `SELECT concat('schema ', nspname, ' owner ', ${roleName('nspowner')}, ${comment(`obj_description(oid, 'pg_namespace')`, '  ')}, ${grants('nspacl', 'n', 'nspowner')})
   FROM pg_namespace WHERE ${ours} ORDER BY nspname`,

  `SELECT concat(
     CASE relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'partitioned table' WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view'
       WHEN 'S' THEN 'sequence' WHEN 'f' THEN 'foreign table' END,
     ' ', c.oid::regclass, ' owner ', ${roleName('relowner')},
     ${comment(`obj_description(c.oid, 'pg_class')`, '  ')},
     E'\\n  with ' || array_to_string(reloptions, ', '),
     CASE WHEN relrowsecurity THEN E'\\n  row security' END, CASE WHEN relforcerowsecurity THEN E'\\n  force row security' END,
     E'\\n  partition by ' || pg_get_partkeydef(c.oid),
     (SELECT format(E'\\n  partition of %s %s', inhparent::regclass, pg_get_expr(relpartbound, c.oid)) FROM pg_inherits WHERE inhrelid = c.oid),
     (SELECT string_agg(concat(E'\\n  column ', quote_ident(attname), ' ', format_type(atttypid, atttypmod),
        CASE WHEN attcollation <> (SELECT typcollation FROM pg_type t WHERE t.oid = atttypid) THEN ' collate ' || attcollation::regcollation END,
        CASE WHEN attnotnull THEN ' not null' END, ' default ' || pg_get_expr(adbin, adrelid),
        ' generated ' || nullif(attgenerated::text, ''), ' identity ' || nullif(attidentity::text, ''), ' grants ' || attacl::text,
        ${comment('col_description(attrelid, attnum)', '    ')}), '' ORDER BY attnum)
      FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
      WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped),
     (SELECT string_agg(format(E'\\n  constraint %I %s', conname, pg_get_constraintdef(oid)), '' ORDER BY conname)
      FROM pg_constraint WHERE conrelid = c.oid AND contype <> 'n'),
     (SELECT string_agg(E'\\n  ' || pg_get_indexdef(indexrelid), '' ORDER BY indexrelid::regclass::text) FROM pg_index WHERE indrelid = c.oid),
     (SELECT string_agg(E'\\n  ' || pg_get_triggerdef(oid), '' ORDER BY tgname) FROM pg_trigger WHERE tgrelid = c.oid AND NOT tgisinternal),
     (SELECT string_agg(format(E'\\n  policy %s %s %s', polname, pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid)), '' ORDER BY polname)
      FROM pg_policy WHERE polrelid = c.oid),
     CASE WHEN relkind IN ('v', 'm') THEN E'\\n' || pg_get_viewdef(c.oid) END,
     ${grants('relacl', 'r', 'relowner')})
   FROM ${relation} AND relkind IN ('r', 'p', 'v', 'm', 'S', 'f') ORDER BY c.oid::regclass::text`,

  `SELECT concat('function ', p.oid::regprocedure, ' owner ', ${roleName('proowner')}, E'\\n', trim(E'\\n' FROM pg_get_functiondef(p.oid)),
     ${grants('proacl', 'f', 'proowner')})
   FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace WHERE ${ours} AND prokind IN ('f', 'p') ORDER BY p.oid::regprocedure::text`,

  `SELECT concat('type ', t.oid::regtype, ' ', typtype) FROM pg_type t JOIN pg_namespace n ON n.oid = typnamespace
   WHERE ${ours} AND typtype NOT IN ('b', 'c') ORDER BY t.oid::regtype::text`,

  `SELECT concat('extension ', extname) FROM pg_extension ORDER BY extname`,
  `SELECT concat('event trigger ', evtname) FROM pg_event_trigger ORDER BY evtname`,
  `SELECT concat('default privileges of ', ${roleName('defaclrole')}, ' ', defaclobjtype, ' ', defaclacl) FROM pg_default_acl ORDER BY 1`,
]

/**
 * The whole schema of a database as text, from pg_catalog, in an order that does not change: what a migration makes,
 * owns, computes, grants and says of itself. Reads like SQL, but is there to be compared.
 *
 * @param client of the role that migrated
 */
export async function describeSchema(client: pg.Client): Promise<string> {
  // Names are printed with their schemas.
  await client.query(`SET search_path = ''`)
  const blocks: string[] = []
  for (const part of parts) {
    const { rows } = await client.query<[string]>({ text: part, rowMode: 'array' })
    blocks.push(...rows.map(([block]) => block))
  }
  await client.query('RESET search_path')
  return `${blocks.map(block => block.replaceAll(/[ \t]+$/gm, '')).join('\n\n')}\n`
}
