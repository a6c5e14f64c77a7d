import { copyFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { sql } from 'kysely'
import type pg from 'pg'
import t from 'tap'
import { startPostgres } from '../../../src/embedded/postgres.ts'
import type { TokenvaultError } from '../../../src/errors.ts'
import type { TokenvaultDatabase } from '../../../src/store/postgres/database.ts'
import { checkAccess } from '../../../src/store/setup/access.ts'
import { readExpectedFacts, readFacts } from '../../../src/store/setup/catalog.ts'
import { ensureDatabase } from '../../../src/store/setup/ensure-database.ts'
import type { SetupFinding } from '../../../src/store/setup/findings.ts'
import { inspectDatabase } from '../../../src/store/setup/inspect.ts'
import { migrate } from '../../../src/store/setup/migrate.ts'
import { setRolePasswords } from '../../../src/store/setup/role-passwords.ts'
import { temporaryDirectory } from '../../helpers/embedded/embedded-directory.ts'
import { createTestDatabase } from '../../helpers/postgres/embedded-postgres.ts'
import { connectTo, createVaultDatabase, openDatabase, withLogin } from '../../helpers/postgres/vault-database.ts'

const allMigrations = new URL('../../../migrations/', import.meta.url)

/** Without what this server, which is made for tests, does not promise. */
const only = (findings: readonly SetupFinding[]) => findings.filter(({ code }) => code !== 'not_durable')

/** Each takes something away, or gives too much; `migrate` gives back and takes away. */
const mendable: readonly [name: string, spoil: string, told: RegExp][] = [
  ['grant on a table', 'REVOKE ALL ON pii_vault.originals FROM tokenvault_api', /^grant_missing: tokenvault_api lacks SELECT on TABLE pii_vault\.originals$/],
  ['grant on columns', 'REVOKE ALL ON pii_vault.quarantine FROM tokenvault_worker', /^grant_missing: tokenvault_worker lacks INSERT \(\w+\) on TABLE pii_vault\.quarantine$/],
  ['grant on a function', 'REVOKE ALL ON FUNCTION pii_vault.reconcile_days() FROM tokenvault_auditor', /lacks EXECUTE on FUNCTION pii_vault\.reconcile_days\(\)$/],
  ['grant on a schema', 'REVOKE ALL ON SCHEMA ingest FROM tokenvault_worker', /lacks USAGE on SCHEMA ingest$/],
  ['hardened schema public', 'REVOKE ALL ON SCHEMA public FROM PUBLIC, tokenvault_analyst', /^grant_missing: tokenvault_analyst lacks USAGE on SCHEMA public$/],
  ['connecting to the database', 'REVOKE ALL ON DATABASE this FROM tokenvault_worker', /lacks CONNECT on DATABASE$/],
  ['database of a restore', 'GRANT CONNECT, TEMPORARY ON DATABASE this TO PUBLIC', /^grant_unknown: PUBLIC has TEMPORARY on DATABASE$/],
  ['rights of the owner itself', 'REVOKE ALL ON pii_vault.audit_head FROM tokenvault_owner', /^grant_missing: tokenvault_owner, the owner, lacks \w+ on TABLE pii_vault\.audit_head/],
  ['rights of an owner by mistake', 'ALTER TABLE pii_vault.suspensions OWNER TO tokenvault_admin; REVOKE ALL ON pii_vault.suspensions FROM tokenvault_admin', /^grant_missing: tokenvault_admin, the owner, lacks SELECT on TABLE pii_vault\.suspensions$/],
  ['everybody may read originals', 'GRANT SELECT ON pii_vault.originals TO PUBLIC', /^grant_unknown: PUBLIC has SELECT on TABLE pii_vault\.originals$/],
  ['everybody may call a function', 'GRANT EXECUTE ON FUNCTION pii_vault.append_audit(bytea[]) TO PUBLIC', /^grant_unknown: PUBLIC has EXECUTE on FUNCTION/],
  ['everybody may make objects', 'GRANT CREATE ON SCHEMA public TO PUBLIC', /^grant_unknown: PUBLIC has CREATE on SCHEMA public$/],
  ['the analyst in the vault', 'GRANT USAGE ON SCHEMA pii_vault TO tokenvault_analyst', /^grant_unknown: tokenvault_analyst has USAGE/],
  ['a column of evidence', 'GRANT UPDATE (event) ON pii_vault.audit_log TO tokenvault_api', /has UPDATE \(event\) on TABLE pii_vault\.audit_log$/],
  ['grant option', 'GRANT INSERT ON public.user_logins TO tokenvault_worker WITH GRANT OPTION', /has GRANT OPTION FOR INSERT/],
  ['a partition', 'GRANT SELECT ON ingest.user_logins_default TO tokenvault_analyst', /^grant_unknown: tokenvault_analyst has SELECT on TABLE ingest/],
  ['default privileges', 'ALTER DEFAULT PRIVILEGES FOR ROLE tokenvault_owner IN SCHEMA ingest GRANT SELECT ON TABLES TO PUBLIC', /^grant_unknown: PUBLIC has SELECT ON TABLES by default FOR ROLE tokenvault_owner IN SCHEMA ingest$/],
  ['owner of a table', 'ALTER TABLE pii_vault.keys OWNER TO tokenvault_admin', /^owner_wrong: tokenvault_admin owns, instead of tokenvault_owner, TABLE pii_vault\.keys$/],
  ['owner of a partition', 'ALTER TABLE ingest.user_logins_default OWNER TO tokenvault_admin', /^owner_wrong: .*TABLE ingest\.user_logins_default$/],
  ['owner of a view', 'ALTER TABLE public.duplicate_ips OWNER TO tokenvault_admin', /^owner_wrong: .*duplicate_ips$/],
  ['owner of a function', 'ALTER FUNCTION pii_vault.admit_actions(jsonb) OWNER TO tokenvault_admin', /^owner_wrong: .*admit_actions\(jsonb\)$/],
  ['owner of a type and a schema', 'ALTER TYPE pii_vault.standing OWNER TO tokenvault_admin; ALTER SCHEMA ingest OWNER TO tokenvault_admin', /^owner_wrong: .*TYPE pii_vault\.standing$/],
  ['a function of a stranger, with our source', 'GRANT CREATE ON SCHEMA pii_vault TO tokenvault_analyst; ALTER FUNCTION pii_vault.append_audit(bytea[]) OWNER TO tokenvault_analyst; REVOKE CREATE ON SCHEMA pii_vault FROM tokenvault_analyst', /^owner_wrong: tokenvault_analyst owns/],
  ['not as its owner', 'ALTER FUNCTION pii_vault.request_redrive(uuid[]) SECURITY INVOKER', /^object_changed: .*SECURITY DEFINER$/],
  ['as its owner', 'ALTER FUNCTION pii_vault.check_plain(pii_vault.standing[], jsonb) SECURITY DEFINER', /^object_changed: .*SECURITY DEFINER$/],
  ['search path', 'ALTER FUNCTION pii_vault.append_audit(bytea[]) SET search_path = public', /^object_changed: .*append_audit\(bytea\[\]\), SET search_path=public$/],
  ['settings of a function', 'ALTER FUNCTION pii_vault.reconcile_days() RESET ALL', /^object_changed: .*reconcile_days\(\), SET TimeZone=UTC$/],
] // biome-ignore format: a case a line

/** A person has to decide these. */
const told: readonly [name: string, spoil: string, back: string, told: RegExp][] = [
  ['missing function', 'ALTER FUNCTION ingest.ensure_partitions(date[]) RENAME TO gone', 'ALTER FUNCTION ingest.gone(date[]) RENAME TO ensure_partitions', /^object_missing: missing: FUNCTION ingest\.ensure_partitions\(date\[\]\)$/],
  ['missing table', 'ALTER TABLE pii_vault.spending RENAME TO gone', 'ALTER TABLE pii_vault.gone RENAME TO spending', /^object_missing: missing: .*TABLE pii_vault\.spending/],
  ['missing constraint', 'ALTER TABLE pii_vault.approvals RENAME CONSTRAINT approvals_by_another TO gone', 'ALTER TABLE pii_vault.approvals RENAME CONSTRAINT gone TO approvals_by_another', /CONSTRAINT approvals_by_another ON pii_vault\.approvals$/],
  ['other source', 'CREATE SCHEMA kept; ALTER FUNCTION pii_vault.principal_id(text, text) SET SCHEMA kept; CREATE FUNCTION pii_vault.principal_id(text, text) RETURNS uuid LANGUAGE sql AS $$ SELECT NULL::uuid $$', 'DROP FUNCTION pii_vault.principal_id; ALTER FUNCTION kept.principal_id(text, text) SET SCHEMA pii_vault; DROP SCHEMA kept', /^object_changed: .*FUNCTION pii_vault\.principal_id\(text,text\)$/],
  ['evidence that can be changed', 'ALTER TABLE pii_vault.audit_log DISABLE TRIGGER append_only', 'ALTER TABLE pii_vault.audit_log ENABLE TRIGGER append_only', /^object_changed: .*TRIGGER append_only ON pii_vault\.audit_log$/],
  ['unknown code', 'CREATE FUNCTION pii_vault.leak() RETURNS int LANGUAGE sql AS $$ SELECT 1 $$', 'DROP FUNCTION pii_vault.leak', /^object_unknown: .*FUNCTION pii_vault\.leak\(\)$/],
  ['unknown rule', 'CREATE RULE leak AS ON INSERT TO pii_vault.originals DO ALSO NOTHING', 'DROP RULE leak ON pii_vault.originals', /^object_unknown: .*RULE leak ON pii_vault\.originals$/],
  ['hidden rows', 'ALTER TABLE pii_vault.originals ENABLE ROW LEVEL SECURITY', 'ALTER TABLE pii_vault.originals DISABLE ROW LEVEL SECURITY', /^object_changed: .*ROW LEVEL SECURITY$/],
  ['a role that is not ours', 'GRANT SELECT ON pii_vault.originals TO pg_monitor', 'REVOKE SELECT ON pii_vault.originals FROM pg_monitor', /^grant_unknown: pg_monitor has SELECT on TABLE pii_vault\.originals$/],
  ['a view of a stranger', 'GRANT CREATE ON SCHEMA public TO tokenvault_analyst; ALTER VIEW public.duplicate_ips OWNER TO tokenvault_analyst; REVOKE CREATE ON SCHEMA public FROM tokenvault_analyst', 'ALTER VIEW public.duplicate_ips OWNER TO tokenvault_owner; GRANT SELECT ON public.duplicate_ips TO tokenvault_analyst', /^owner_wrong: tokenvault_analyst owns/],
] // biome-ignore format: a case a line

/** A line for each object, as whichever role. */
async function look(database: TokenvaultDatabase): Promise<string[]> {
  const findings = await database.transaction().execute(transaction => checkAccess(transaction, { each: true }))
  return findings.map(({ code, says }) => `${code}: ${says}`)
}

t.test('migrate gives back what was lost and takes away what is too much, whatever kind of object it is', async t => {
  const vault = await createVaultDatabase(t)
  const admin = await vault.connect()
  const database = vault.database(undefined, 1)
  const analyst = vault.database('tokenvault_analyst', 1)
  t.strictSame(await look(analyst), [])
  for (const [, spoil] of mendable) await admin.query(spoil.replaceAll('DATABASE this', `DATABASE ${vault.name}`))
  // The database's own list is for everybody to read; connecting took it.
  const seen = await look(analyst)
  for (const [name, , expected] of mendable)
    t.ok(
      seen.some(line => expected.test(line)),
      name,
    )
  const { mended, findings } = await migrate(database)
  t.ok(mended.length >= mendable.length, `${mended.length} statements`)
  t.strictSame(only(findings), [])
  t.strictSame(await look(analyst), [])
  await admin.query('GRANT USAGE ON SCHEMA public TO PUBLIC')
  t.strictSame((await migrate(database)).mended, [], 'which is left to the owner of the database')
})

t.test('what a person has to decide is named and left as it is', async t => {
  const vault = await createVaultDatabase(t)
  const admin = await vault.connect()
  const database = vault.database(undefined, 1)
  for (const [, spoil] of told) await admin.query(spoil)
  const { findings } = await migrate(database)
  t.ok(findings.some(({ code, status }) => code === 'owner_wrong' && status === 'fail'))
  const seen = await look(database)
  for (const [name, , , expected] of told)
    t.ok(
      seen.some(line => expected.test(line)),
      name,
    )
  for (const [, , back] of told.toReversed()) await admin.query(back)
  t.strictSame(only((await migrate(database)).findings), [])
})

t.test(
  'what others do beside us is theirs: other schemas, columns, indexes, grants on logins and on the database',
  async t => {
    const vault = await createVaultDatabase(t)
    const admin = await vault.connect()
    await admin.query(`
    CREATE TABLE public.of_others (id int); GRANT ALL ON public.of_others TO PUBLIC;
    ALTER TABLE public.user_logins ADD COLUMN masked_email varchar(256);
    CREATE INDEX ON pii_vault.approvals (ticket);
    GRANT SELECT ON public.user_logins TO pg_monitor;
    GRANT CONNECT ON DATABASE ${vault.name} TO pg_monitor`)
    t.strictSame(only(await inspectDatabase(vault.database(undefined, 1))), [])
    const { mended, findings } = await migrate(vault.database(undefined, 1))
    t.strictSame([mended, only(findings)], [[], []])
  },
)

t.test('a server or a database that is not fit is named before anything is changed, each fault in a line', async t => {
  const { adminUrl, name } = await createTestDatabase(t)
  const admin = await connectTo(t, adminUrl)
  const unfitName = `${name}_unfit`
  await admin.query(`CREATE DATABASE ${unfitName} TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'`)
  t.teardown(() => admin.query(`DROP DATABASE ${unfitName} WITH (FORCE)`))
  const settings = [
    ['DateStyle', 'German'],
    ['array_nulls', 'off'],
    ['default_transaction_read_only', 'on'],
    ['search_path', 'public, pg_catalog'],
    ['session_replication_role', 'replica'],
    ['standard_conforming_strings', 'off'],
    ['transform_null_equals', 'on'],
  ] as const
  for (const [setting, value] of settings) await admin.query(`ALTER DATABASE ${unfitName} SET ${setting} = ${value}`)
  const url = new URL(adminUrl)
  url.pathname = `/${unfitName}`
  const unfit = openDatabase(t, url.href, 1)
  const expected = [
    /server_encoding: the encoding of the database is SQL_ASCII; UTF8 is needed/,
    ...settings.map(([setting]) => new RegExp(`server_setting: ${setting} is ".*" for the database, and .* is needed`)),
  ]
  const error = await migrate(unfit).then(
    () => t.fail(),
    (refusal: TokenvaultError) => refusal,
  )
  t.match(error, { code: 'store_misconfigured', message: /^8 problems:\n(.|\n)*\. Nothing was changed$/ })
  const seen = (await inspectDatabase(unfit)).map(({ code, says }) => `${code}: ${says}`)
  for (const line of expected) {
    t.match(error, { message: line })
    t.ok(
      seen.some(text => line.test(text)),
      `${line}`,
    )
  }
  t.strictSame((await sql`select nspname from pg_namespace where nspname = 'pii_vault'`.execute(unfit)).rows, [])
})

t.test('a database that was restored elsewhere, without roles, owners and grants, works after migrate', async t => {
  const { adminUrl, stop } = await startPostgres({ dataDir: temporaryDirectory(t), port: 0, isDurable: false })
  t.teardown(stop)
  const url = await ensureDatabase(adminUrl, 'restored')
  const database = openDatabase(t, url, 1)
  // As the release before made it: the last migration is still to come.
  const migrationsOfBefore = temporaryDirectory(t)
  const files = readdirSync(allMigrations).sort()
  for (const file of files.slice(0, -1)) copyFileSync(new URL(file, allMigrations), join(migrationsOfBefore, file))
  await migrate(database, pathToFileURL(`${migrationsOfBefore}/`))
  const admin = await connectTo(t, url)
  const limits = async () =>
    (
      await admin.query(
        `SELECT rolname, rolconnlimit, setconfig FROM pg_roles LEFT JOIN pg_db_role_setting ON setrole = pg_roles.oid
         WHERE rolname LIKE 'tokenvault%' ORDER BY 1`,
      )
    ).rows
  const given = await limits()
  t.ok(given.some(({ rolconnlimit, setconfig }) => rolconnlimit > 0 && setconfig !== null))
  await restore(admin)
  const seen = only(await inspectDatabase(database))
  t.ok(seen.some(({ code }) => code === 'role_missing'))

  const { migrations, mended, findings } = await migrate(database)
  t.strictSame(migrations, [files.at(-1)?.replace('.sql', '')])
  t.ok(mended.includes('-- the first part of 0001_roles'))
  t.ok(mended.length > 100, `${mended.length} statements`)
  t.strictSame(only(findings), [])
  const facts = await database.transaction().execute(transaction => readFacts(transaction, readExpectedFacts()))
  t.strictSame(
    facts.map(({ what, on, is, to }) => ({ what, on, is, to })),
    readExpectedFacts(),
  )

  t.strictSame(await limits(), given)

  await setRolePasswords(database, new Map([['tokenvault_worker', 'secret']]))
  const worker = await connectTo(t, withLogin(url, 'tokenvault_worker', 'secret'))
  await worker.query(`SELECT ingest.ensure_partitions(ARRAY[current_date])`)
  await worker.query(`INSERT INTO ingest.receipts VALUES (current_date, 'id', 1, 0)`)
  await worker.query(`INSERT INTO public.user_logins (user_id, create_date) VALUES ('someone', current_date)`)
  await t.rejects(worker.query('SELECT FROM public.user_logins'), { code: '42501' })
  t.strictSame((await migrate(database)).mended, [])

  await admin.query('GRANT pg_read_all_data TO tokenvault_analyst; ALTER ROLE tokenvault_api CREATEROLE BYPASSRLS')
  t.match(
    only((await migrate(database)).findings).map(({ code, says }) => `${code}: ${says}`),
    [
      'role_privileged: role tokenvault_analyst has membership in pg_read_all_data',
      'role_privileged: role tokenvault_api has attribute BYPASSRLS; attribute CREATEROLE',
    ],
  )
})

/** What pg_restore with --no-owner and --no-acl leaves on another server. */
async function restore(admin: pg.Client): Promise<void> {
  const roles = readExpectedFacts().flatMap(({ what, on }) => (what === 'role' ? [on] : []))
  await admin.query(`
    REASSIGN OWNED BY tokenvault_owner TO CURRENT_USER;
    DROP OWNED BY ${roles.join(', ')};
    DROP ROLE ${roles.join(', ')};
    GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA ingest, pii_vault TO PUBLIC;
    GRANT CONNECT, TEMPORARY ON DATABASE restored TO PUBLIC`)
}
