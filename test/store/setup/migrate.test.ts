import { cpSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { sql } from 'kysely'
import t from 'tap'
import { startPostgres } from '../../../src/embedded/postgres.ts'
import { openLocalKek } from '../../../src/kms/local.ts'
import { createKeyReader, createKeyWriter } from '../../../src/store/keys.ts'
import { type Migrated, migrate } from '../../../src/store/setup/migrate.ts'
import { setRolePasswords } from '../../../src/store/setup/role-passwords.ts'
import { loginFields } from '../../../src/vault/fields/fields.ts'
import { createMissingKeys } from '../../../src/vault/keys/wrapped-keys.ts'
import { temporaryDirectory } from '../../helpers/embedded/embedded-directory.ts'
import { createTestDatabase } from '../../helpers/postgres/embedded-postgres.ts'
import { connectTo, createVaultDatabase, openDatabase, withLogin } from '../../helpers/postgres/vault-database.ts'

const migrations = new URL('../../../migrations/', import.meta.url)
const all = readdirSync(migrations)
  .map(file => file.replace('.sql', ''))
  .sort()

/** Nothing was mended or told, but that the servers of tests may forget, and which limits only a superuser sets. */
function isClean({ mended, findings }: Migrated): boolean {
  return mended.length === 0 && findings.every(({ code }) => code === 'not_durable' || code === 'role_unlimited')
}

t.test('20 migrators at once apply each migration once, and later ones apply none', async t => {
  const { adminUrl } = await createTestDatabase(t)
  const done = await Promise.all(Array.from({ length: 20 }, () => migrate(openDatabase(t, adminUrl, 1))))
  const applied = done.map(({ migrations }) => migrations)
  t.strictSame(applied.flat().sort(), all)
  t.equal(applied.filter(names => names.length > 0).length, 1)
  const database = openDatabase(t, adminUrl, 1)
  for (const outcome of [...done, await migrate(database)])
    t.ok(isClean(outcome), 'what the migrations make is what is compared with')
  const { rows } = await sql`select name from tokenvault_migrations.kysely_migration order by name`.execute(database)
  t.strictSame(
    rows,
    all.map(name => ({ name })),
  )
})

t.test('databases of one cluster migrate at the same time, though they share its roles', async t => {
  const databases = await Promise.all(Array.from({ length: 6 }, () => createTestDatabase(t)))
  const applied = await Promise.all(databases.map(({ adminUrl }) => migrate(openDatabase(t, adminUrl, 1))))
  for (const { migrations } of applied) t.strictSame(migrations, all)
})

t.test('a server that is too old is named before anything is tried', async t => {
  const { adminUrl, name } = await createTestDatabase(t)
  const client = await connectTo(t, adminUrl)
  // None is at hand, so this one tells another version.
  await client.query(`
    CREATE SCHEMA old;
    CREATE FUNCTION old.current_setting(text) RETURNS text LANGUAGE sql AS $$ SELECT '150012' $$;
    ALTER DATABASE ${name} SET search_path = old, pg_catalog, public`)
  await t.rejects(migrate(openDatabase(t, adminUrl, 1)), {
    code: 'store_misconfigured',
    message: /^server_version: the server is Postgres 15; 16 or newer is needed; upgrade it.*\. Nothing was changed$/,
  })
})

t.test('a migration that fails is named by name and SQLSTATE, and takes all others of the call back', async t => {
  const { adminUrl } = await createTestDatabase(t)
  const database = openDatabase(t, adminUrl, 1)
  const directory = temporaryDirectory(t)
  cpSync(migrations, directory, { recursive: true })
  writeFileSync(join(directory, '0099_broken.sql'), `SELECT 1; SELECT 'canary-4711'::integer;`)
  await t.rejects(migrate(database, pathToFileURL(`${directory}/`)), {
    code: 'migration_failed',
    message: 'migration 0099_broken: the database answered: SQLSTATE 22P02',
    cause: undefined,
  })
  const { rows } = await sql`select nspname from pg_namespace
    where nspname in ('analyst', 'ingest', 'pii_vault', 'tokenvault_migrations')`.execute(database)
  t.strictSame(rows, [], 'nothing stays')
  const { migrations: applied } = await migrate(database)
  t.strictSame(applied, all, 'the same connection migrates once the cause is gone')
})

/** The first files make each object whole; there are databases of theirs, so that later files alter what they made. */
const firstFiles = 10

t.test('migrations are numbered without a gap, and the first ones are one file a noun', async t => {
  t.strictSame(
    all.map(name => /^(\d{4})_[a-z_]+$/.exec(name)?.[1]),
    all.map((_, place) => String(place + 1).padStart(4, '0')),
  )
  const made = all.slice(0, firstFiles).flatMap(name => {
    const text = readFileSync(new URL(`${name}.sql`, migrations), 'utf8')
    t.notMatch(text, /^(CREATE OR REPLACE|ALTER|DROP)\b/m, name)
    return [...text.matchAll(/^CREATE (?:UNIQUE )?(TABLE|VIEW|INDEX|FUNCTION|SCHEMA|TYPE) ([a-z_.]+)/gm)].map(
      ([, kind, object]) => `${kind} ${object}`,
    )
  })
  t.ok(made.length > 40, `${made.length} objects`)
  t.strictSame(made.toSorted(), [...new Set(made)].sort())
})

t.test('a default isolation level that somebody set does not blind migrators that wait for their turn', async t => {
  const { adminUrl, name } = await createTestDatabase(t)
  const admin = await connectTo(t, adminUrl)
  await admin.query(`ALTER DATABASE ${name} SET default_transaction_isolation = serializable`)
  const applied = await Promise.all(Array.from({ length: 6 }, () => migrate(openDatabase(t, adminUrl, 1))))
  t.strictSame(applied.flatMap(({ migrations }) => migrations).sort(), all)
})

t.test('an older version refuses a database that a newer one migrated, and says so', async t => {
  const { adminUrl } = await createVaultDatabase(t)
  const database = openDatabase(t, adminUrl, 1)
  await sql`insert into tokenvault_migrations.kysely_migration values ('0099_later', ${new Date().toISOString()})`.execute(
    database,
  )
  await t.rejects(migrate(database), {
    code: 'migration_failed',
    message: 'a newer version of tokenvault migrated the database: run that version. Nothing was changed',
  })
})

t.test(
  'a database whose originals are of tokens that held their values is refused; an empty one is upgraded',
  async t => {
    const { adminUrl } = await createTestDatabase(t)
    const database = openDatabase(t, adminUrl, 1)
    const directory = temporaryDirectory(t)
    for (const name of all.slice(0, firstFiles))
      cpSync(new URL(`${name}.sql`, migrations), join(directory, `${name}.sql`))
    await migrate(database, pathToFileURL(`${directory}/`))
    await sql`insert into pii_vault.originals values (gen_random_uuid(), 'ip', 1, 1, '')`.execute(database)
    await t.rejects(migrate(database), {
      code: 'migration_failed',
      message:
        /^an unreleased version of tokenvault made the database, and it cannot be upgraded: .+ Nothing was changed$/,
    })
    const { rows } = await sql`select name from tokenvault_migrations.kysely_migration`.execute(database)
    t.equal(rows.length, firstFiles)
    await sql`delete from pii_vault.originals`.execute(database)
    t.strictSame((await migrate(database)).migrations, all.slice(firstFiles))
    await sql`insert into pii_vault.originals values (gen_random_uuid(), 'ip', 1, 1, '')`.execute(database)
    t.strictSame((await migrate(database)).migrations, [])
  },
)

t.test('a database that an unreleased version made is refused with what to do, and left as it is', async t => {
  const { adminUrl } = await createTestDatabase(t)
  const database = openDatabase(t, adminUrl, 1)
  const directory = temporaryDirectory(t)
  writeFileSync(join(directory, '0001_roles.sql'), 'SELECT')
  writeFileSync(join(directory, '0002_of_before.sql'), 'CREATE TABLE public.kept ()')
  await migrate(database, pathToFileURL(`${directory}/`))
  const refusal = {
    code: 'migration_failed',
    message:
      'an unreleased version of tokenvault made the database, and it cannot be upgraded: migrate an empty database and ' +
      'ingest the events again. Nothing was changed',
  }
  await t.rejects(migrate(database), refusal, 'a name that is not ours')
  await sql`update tokenvault_migrations.kysely_migration set name = ${all[2]} where name like '0002%'`.execute(
    database,
  )
  await t.rejects(migrate(database), refusal, 'a gap')
  const { rows } = await sql`select relname from pg_class
    where relnamespace in (select oid from pg_namespace where nspname in ('public', 'analyst', 'ingest', 'pii_vault'))`.execute(
    database,
  )
  t.strictSame(rows, [{ relname: 'kept' }])
})

t.test('no superuser is needed, as on RDS', async t => {
  // A cluster of its own: in the shared one the roles are there already.
  const dataDir = temporaryDirectory(t)
  const { adminUrl, stop } = await startPostgres({ dataDir, port: 0, isDurable: false })
  t.teardown(stop)
  const admin = await connectTo(t, adminUrl)
  const urlOf = async (role: string, attributes: string) => {
    await admin.query(`CREATE ROLE ${role} LOGIN ${attributes} PASSWORD 'secret'`)
    await admin.query(`CREATE DATABASE ${role} OWNER ${role}`)
    const url = new URL(withLogin(adminUrl, role, 'secret'))
    url.pathname = `/${role}`
    return url.href
  }
  const prepare = async (url: string) => {
    const database = openDatabase(t, url, 1)
    for (const migrations of [all, []]) {
      const outcome = await migrate(database)
      t.strictSame(outcome.migrations, migrations)
      t.ok(isClean(outcome))
    }
    const kekFile = join(temporaryDirectory(t), 'kek')
    writeFileSync(kekFile, Buffer.alloc(32, 7), { mode: 0o600 })
    const options = { tenant: 'default', fields: loginFields }
    const { made } = await createMissingKeys(createKeyWriter(database), openLocalKek(kekFile), options)
    t.equal(made.length, 7)
    return database
  }

  await t.test('a role that owns the database and may create roles does all of it', async t => {
    const url = await urlOf('creator', 'CREATEROLE')
    const database = await prepare(url)
    await setRolePasswords(database, new Map([['tokenvault_worker', 'worker-secret']]))
    const worker = openDatabase(t, withLogin(url, 'tokenvault_worker', 'worker-secret'), 1)
    t.equal((await createKeyReader(worker).readKeys()).length, 7)
  })

  await t.test(
    'a role that owns the database and is a member of tokenvault_owner needs the roles made before',
    async t => {
      const url = await urlOf('member', '')
      await t.rejects(migrate(openDatabase(t, url, 1)), {
        code: 'migration_failed',
        message:
          'migration 0001_roles: a grant is missing, or an owner was changed; the database answered: SQLSTATE 42501',
      })
      await admin.query('GRANT tokenvault_owner TO member')
      await prepare(url)
    },
  )
})
