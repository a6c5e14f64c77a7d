import t from 'tap'
import { createAnalystSchemas } from '../../../src/store/setup/analyst-schemas.ts'
import { loginRoles } from '../../../src/store/setup/role-passwords.ts'
import { runInProcess } from '../../helpers/cli/cli-in-process.ts'
import { createVaultDatabase } from '../../helpers/postgres/vault-database.ts'

t.test('schemas of analysts', async t => {
  const vault = await createVaultDatabase(t)
  const admin = await vault.connect()

  await t.test('an analyst builds in the schema what dbt builds, and in no other place', async t => {
    await createAnalystSchemas(vault.database(), ['analytics'])
    const analyst = await vault.connect('tokenvault_analyst')
    // What dbt-postgres 1.9 issues for a table, a view, an incremental model without temporary tables, tests and docs.
    const statements = [
      'select distinct nspname from pg_namespace',
      `select 'db' as database, tablename as name, schemaname as schema, 'table' as type from pg_tables where schemaname ilike 'analytics'
       union all select 'db', viewname, schemaname, 'view' from pg_views where schemaname ilike 'analytics'
       union all select 'db', matviewname, schemaname, 'materialized_view' from pg_matviews where schemaname ilike 'analytics'`,
      `create table "analytics"."daily__dbt_tmp" as (select create_date, count(*) as logins from public.user_logins group by 1)`,
      `create table "analytics"."daily" as (select 1 as old)`,
      'begin',
      'alter table "analytics"."daily" rename to "daily__dbt_backup"',
      'alter table "analytics"."daily__dbt_tmp" rename to "daily"',
      'create index if not exists "daily_by_day" on "analytics"."daily" (create_date)',
      'commit',
      'drop table if exists "analytics"."daily__dbt_backup" cascade',
      'create view "analytics"."shared__dbt_tmp" as (select * from public.duplicate_devices)',
      'alter view "analytics"."shared__dbt_tmp" rename to "shared"',
      'create view "analytics"."on_top" as (select * from "analytics"."shared")',
      'create materialized view "analytics"."kept" as (select * from "analytics"."daily")',
      'refresh materialized view "analytics"."kept"',
      `insert into "analytics"."daily" select current_date, 7`,
      `delete from "analytics"."daily" where logins = 7`,
      'truncate table "analytics"."daily"',
      `comment on table "analytics"."daily" is 'logins by day'`,
      'analyze "analytics"."daily"',
      `select column_name, data_type from information_schema.columns where table_schema = 'analytics' and table_name = 'daily'`,
      `select dependent.relname from pg_depend join pg_rewrite on pg_rewrite.oid = objid join pg_class as dependent on dependent.oid = ev_class`,
      'drop view if exists "analytics"."shared" cascade',
      'drop materialized view "analytics"."kept" cascade',
    ]
    for (const statement of statements) await t.resolves(analyst.query(statement), statement)
    const { rows } = await analyst.query(`select viewname from pg_views where schemaname = 'analytics'`)
    t.strictSame(rows, [], 'cascade took the view on top of it along')

    // dbt looks for the schema first, and creates it only where it is missing: creating takes a right on the database.
    for (const statement of [
      'create schema if not exists analytics',
      'create schema other',
      'create temporary table t (a int)',
      'create table public.t (a int)',
      'create table pii_vault.t (a int)',
      'create table ingest.t (a int)',
      'drop schema analytics cascade',
      'alter schema analytics owner to tokenvault_analyst',
      'grant all on schema analytics to public',
      'select * from pii_vault.originals',
      'set role tokenvault_owner',
    ]) {
      const outcome = analyst.query(statement)
      // A grant of what one may not grant is a warning, and nothing else.
      if (statement.startsWith('grant')) await t.resolves(outcome, statement)
      else await t.rejects(outcome, { code: '42501' }, statement)
    }

    const { rows: others } = await admin.query(
      `select role, verb from unnest($1::text[]) as role, unnest(array['USAGE', 'CREATE']) as verb
       where has_schema_privilege(role, 'analytics', verb) order by 1, 2`,
      [[...loginRoles, 'public']],
    )
    t.strictSame(others, [
      { role: 'tokenvault_analyst', verb: 'CREATE' },
      { role: 'tokenvault_analyst', verb: 'USAGE' },
    ])
  })

  await t.test('nothing of ours looks into the schema, and its owner drops it with all that analysts made', async t => {
    await createAnalystSchemas(vault.database(), ['analytics'])
    const analyst = await vault.connect('tokenvault_analyst')
    await analyst.query('create table analytics.user_logins as select 1 as a')
    await analyst.query(
      `create function analytics.sha256(bytea) returns bytea language plpgsql as $$ begin raise exception 'reached'; end $$`,
    )
    const { rows } = await admin.query(
      `select proconfig from pg_proc where prosecdef and pronamespace in ('pii_vault'::regnamespace, 'ingest'::regnamespace)`,
    )
    t.ok(rows.length > 10)
    for (const { proconfig } of rows) t.match(proconfig, ['search_path=pg_catalog, pg_temp'])
    const { rows: settings } = await admin.query(
      `select setconfig from pg_db_role_setting where setdatabase in (0, (select oid from pg_database where datname = current_database()))
         and setconfig::text like '%search_path%'`,
    )
    t.strictSame(settings, [], 'no session looks there by itself')
    // Even a session that names the schema first appends its evidence with the functions of Postgres.
    const api = await vault.connect('tokenvault_api')
    await api.query('set search_path = analytics, public')
    await t.resolves(api.query(`select pii_vault.append_audit(array['{"type":"detokenize"}'::bytea])`))
    await admin.query('set role tokenvault_owner')
    await admin.query('drop schema analytics cascade; reset role')
  })

  await t.test(
    'it may be asked for again and by other names, odd ones too; ours, those of Postgres and of others are refused',
    async t => {
      const database = vault.database()
      const odd = 'Größe "x"; drop schema public; --'
      await Promise.all([
        createAnalystSchemas(database, ['analytics']),
        createAnalystSchemas(database, ['analytics', odd, odd]),
      ])
      await admin.query('revoke create on schema analytics from tokenvault_analyst')
      await createAnalystSchemas(database, ['analytics'])
      const analyst = await vault.connect('tokenvault_analyst')
      for (const name of ['analytics', odd])
        await t.resolves(analyst.query(`create table "${name.replaceAll('"', '""')}".t (a int)`), name)

      await admin.query('create schema finance')
      const taken = [
        'public',
        'Public',
        'pii_vault',
        'PII_VAULT',
        'ingest',
        'analyst',
        'information_schema',
        'pg_catalog',
      ]
      for (const name of [
        ...taken,
        'pg_temp',
        'pg_anything',
        'tokenvault_migrations',
        'finance',
        '',
        'a\0b',
        'ä'.repeat(32),
      ])
        await t.rejects(createAnalystSchemas(database, ['fine', name]), { code: 'usage' }, name)
      const { rows } = await admin.query(`select 1 from pg_namespace where nspname in ('fine', 'Public', 'PII_VAULT')`)
      t.strictSame(rows, [], 'all of a call or none')
      const { rows: rights } = await admin.query(
        `select has_schema_privilege('tokenvault_analyst', 'public', 'CREATE') or has_schema_privilege('tokenvault_analyst', 'finance', 'USAGE') as any`,
      )
      t.strictSame(rights, [{ any: false }])
    },
  )

  await t.test(
    '`migrate --analyst-schema` says which schemas there are, and changes nothing for a name that is refused',
    async t => {
      const environment = { DATABASE_URL: vault.adminUrl, KEK_FILE: vault.kekFile }
      const first = await runInProcess(
        ['migrate', '--analyst-schema', 'analytics', '--analyst-schema', 'analytics_dbt_test__audit'],
        environment,
      )
      t.match(first, {
        code: 0,
        stderr: /^(tokenvault: warning: not_durable: .*\n)*$/,
        stdout: /^schemas of analysts: analytics, analytics_dbt_test__audit$/m,
      })
      const again = await runInProcess(['migrate', '--analyst-schema', 'analytics', '--json'], environment)
      t.strictSame([again.code, JSON.parse(again.stdout).analystSchemas], [0, ['analytics']])
      const refused = await runInProcess(['migrate', '--analyst-schema', 'ingest'], environment)
      t.match(refused, {
        code: 2,
        stdout: '',
        stderr: /^tokenvault: usage: --analyst-schema names a schema that tokenvault/,
      })
    },
  )
})
