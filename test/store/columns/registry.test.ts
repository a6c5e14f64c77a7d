import t from 'tap'
import { openLocalKek } from '../../../src/kms/local.ts'
import { findTokenTable } from '../../../src/store/columns/find-table.ts'
import { forgetColumn, registerColumn } from '../../../src/store/columns/registry.ts'
import { insertOriginals } from '../../../src/store/insert-originals.ts'
import { createKeyWriter } from '../../../src/store/keys.ts'
import { createLedger } from '../../../src/store/ledger.ts'
import { inspectDatabase } from '../../../src/store/setup/inspect.ts'
import { migrate } from '../../../src/store/setup/migrate.ts'
import { createFieldSchema, type FieldDefinition, loginFields } from '../../../src/vault/fields/fields.ts'
import { FieldKeys } from '../../../src/vault/keys/field-keys.ts'
import { createMissingKeys } from '../../../src/vault/keys/wrapped-keys.ts'
import { reconcile } from '../../../src/vault/ledger/reconcile.ts'
import { createTokenizer } from '../../../src/vault/tokens/tokenizer.ts'
import { runInProcess } from '../../helpers/cli/cli-in-process.ts'
import { createVaultDatabase, openDatabase, testTenant, withLogin } from '../../helpers/postgres/vault-database.ts'

const vault = await createVaultDatabase(t)
const admin = await vault.connect()
const database = vault.database(undefined, 2)
const auditor = vault.database('tokenvault_auditor', 1)
const ledger = createLedger(auditor)

const definitions: readonly FieldDefinition[] = [
  ...[...loginFields.values()].map(({ name, rule, column }) => ({ name, rule, column })),
  { name: 'host', rule: 'ip.v1', column: 'masked_host', format: 'inet' },
  { name: 'install', rule: 'text.v1', column: 'masked_install', format: 'uuid' },
]
const fields = createFieldSchema(definitions)
const { keyset } = await createMissingKeys(createKeyWriter(database), openLocalKek(vault.kekFile), {
  tenant: testTenant,
  fields,
})
const keys = new FieldKeys(keyset, testTenant)
const tokenizer = createTokenizer(keys, fields)

/** Tokens whose originals were stored as by the API. */
async function store(field: string, values: readonly string[]): Promise<string[]> {
  const given = tokenizer.tokenizeValues(field, values)
  const tokens = given.map(answer => {
    if (!('token' in answer)) throw new Error('a test value was refused')
    return answer
  })
  await insertOriginals(database, tokens.map(({ original }) => original), { keptElsewhere: true }) // biome-ignore format: one line
  return tokens.map(({ token }) => token)
}

/** A table with a registered column of tokens. */
async function createTokens(
  name: string,
  field: string,
  type: string,
  tokens: readonly (string | null)[],
): Promise<void> {
  await admin.query(`CREATE TABLE ${name} (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, clear text, token ${type})`)
  await admin.query(`INSERT INTO ${name} (token) SELECT unnest($1::text[])::${type}`, [tokens])
  const format = fields.get(field)!.format
  await registerColumn(
    database,
    await findTokenTable(database, { table: name, column: 'clear', to: 'token', format }),
    field,
  )
}

/** What is found of the columns, by table. */
async function found() {
  const { columns, isConsistent, unmatched } = await reconcile(ledger, loginFields)
  return { isConsistent, unmatched, tables: new Map(columns.map(({ table, ...column }) => [table, column])) }
}

t.test(
  'each token of a registered column is proven to have its original, in every format, whatever the table is called',
  async t => {
    await createTokens('public.proven', 'ip', 'varchar(256)', [
      ...(await store('ip', ['10.0.0.1', '10.0.0.2', '10.0.0.1'])),
      null,
    ])
    await admin.query('CREATE SCHEMA "Odd ""app"')
    await createTokens('"Odd ""app"."Hösts, all"', 'host', 'inet', await store('host', ['10.0.0.1', '2001:db8::1']))
    await createTokens('public.installs', 'install', 'uuid', await store('install', ['one', 'two', 'three']))
    const { isConsistent, unmatched, tables } = await found()
    t.strictSame(
      [isConsistent, unmatched],
      [true, []],
      'and values that were stored over HTTP need no token in user_logins',
    )
    const verdict = { column: 'token', withoutOriginal: 0, verdict: 'equal' }
    t.match(tables.get('proven'), { ...verdict, schema: 'public', field: 'ip', tokens: 3 })
    t.match(tables.get('Hösts, all'), { ...verdict, schema: 'Odd "app', field: 'host', tokens: 2 })
    t.match(tables.get('installs'), { ...verdict, field: 'install', tokens: 3 })

    const told = await runInProcess(['reconcile'], { DATABASE_URL: vault.urlFor('tokenvault_auditor') })
    t.match(told, {
      code: 0,
      stderr: '',
      stdout: /^column token of public\.proven: 3 tokens of ip, each with its original$/m,
    })
  },
)

const damages: readonly [name: string, damage: string, back: string, tables: Record<string, object>][] = [
  ['an original is gone', `CREATE TABLE kept AS TABLE pii_vault.originals; DELETE FROM pii_vault.originals WHERE field = 'host'`, 'TRUNCATE pii_vault.originals; INSERT INTO pii_vault.originals SELECT * FROM kept; DROP TABLE kept', { 'Hösts, all': { tokens: 2, withoutOriginal: 2, verdict: 'different' } }],
  ['a value stands where a token belongs', `UPDATE public.proven SET token = '203.0.113.7' WHERE id = 2`, `UPDATE public.proven SET token = (SELECT token FROM public.proven WHERE id = 1) WHERE id = 2`, { proven: { tokens: 3, withoutOriginal: 1, verdict: 'different' } }],
  ['a token of another field', `UPDATE public.proven SET token = replace(token, 'ip_', 'device_id_') WHERE id = 1`, `UPDATE public.proven SET token = replace(token, 'device_id_', 'ip_') WHERE id = 1`, { proven: { withoutOriginal: 1 } }],
  ['a token that is prolonged', `UPDATE public.proven SET token = token || 'A' WHERE id = 1`, `UPDATE public.proven SET token = left(token, -1) WHERE id = 1`, { proven: { withoutOriginal: 1 } }],
  ['an address that is a network', `UPDATE "Odd ""app"."Hösts, all" SET token = set_masklen(token, 64) WHERE id = 1`, `UPDATE "Odd ""app"."Hösts, all" SET token = set_masklen(token, 128) WHERE id = 1`, { 'Hösts, all': { withoutOriginal: 1 } }],
  ['another UUID', `UPDATE public.installs SET token = gen_random_uuid() WHERE id = 1`, `DELETE FROM public.installs WHERE id = 1`, { installs: { withoutOriginal: 1 } }],
  ['the table was renamed', 'ALTER TABLE public.proven RENAME TO other', 'ALTER TABLE public.other RENAME TO proven', { proven: { tokens: 0, verdict: 'unreadable', problem: /^the table or the column is gone; if that is meant: tokenvault backfill --forget$/ } }],
  ['the column was renamed', 'ALTER TABLE public.proven RENAME token TO other', 'ALTER TABLE public.proven RENAME other TO token', { proven: { problem: /is gone/ } }],
  ['the schema was renamed', 'ALTER SCHEMA "Odd ""app" RENAME TO app', 'ALTER SCHEMA app RENAME TO "Odd ""app"', { 'Hösts, all': { problem: /is gone/ } }],
  ['the grant was revoked', 'REVOKE ALL ON public.proven FROM tokenvault_auditor; REVOKE SELECT (token) ON public.proven FROM tokenvault_auditor', 'GRANT SELECT (token) ON public.proven TO tokenvault_auditor', { proven: { verdict: 'unreadable', problem: /it may not be read: run `tokenvault migrate`/ } }],
  ['a view took its place', 'ALTER TABLE public.proven RENAME TO other; CREATE VIEW public.proven AS SELECT token FROM public.other; GRANT SELECT ON public.proven TO tokenvault_auditor', 'DROP VIEW public.proven; ALTER TABLE public.other RENAME TO proven', { proven: { problem: /not a table any more/ } }],
  ['policies may hide rows', 'ALTER TABLE public.proven ENABLE ROW LEVEL SECURITY', 'ALTER TABLE public.proven DISABLE ROW LEVEL SECURITY', { proven: { problem: /row-level security/ } }],
  ['a policy shows some rows', 'ALTER TABLE public.proven ENABLE ROW LEVEL SECURITY; CREATE POLICY some_rows ON public.proven TO tokenvault_auditor USING (id > 1)', 'DROP POLICY some_rows ON public.proven; ALTER TABLE public.proven DISABLE ROW LEVEL SECURITY', { proven: { problem: /row-level security/ } }],
] // biome-ignore format: a case a line

t.test('a token without original, and a column that nobody can read, are told by name', async t => {
  for (const [name, damage, back, expected] of damages) {
    await admin.query(damage)
    const { isConsistent, tables } = await found()
    t.equal(isConsistent, false, name)
    const wrong = new Map([...tables].filter(([, { verdict }]) => verdict !== 'equal'))
    t.strictSame([...wrong.keys()], Object.keys(expected), name)
    t.match(Object.fromEntries(wrong), expected, name)
    await admin.query(back)
    t.equal((await found()).isConsistent, true, `${name}, undone`)
  }
  await admin.query(
    'ALTER TABLE public.proven ENABLE ROW LEVEL SECURITY; CREATE POLICY every_row ON public.proven FOR SELECT TO tokenvault_auditor USING (true)',
  )
  t.equal((await found()).isConsistent, true, 'a policy that shows every row proves them')
  await admin.query(
    'DROP POLICY every_row ON public.proven; ALTER TABLE public.proven DISABLE ROW LEVEL SECURITY; ALTER TABLE public.proven RENAME TO other',
  )
  const told = await runInProcess(['reconcile'], { DATABASE_URL: vault.urlFor('tokenvault_auditor') })
  t.match(told, { code: 1, stdout: /^column token of public\.proven: the table or the column is gone/m })
  await admin.query('ALTER TABLE public.other RENAME TO proven')
})

t.test('code of a stranger in a table that is reconciled runs as the auditor, which may change nothing', async t => {
  await createTokens('public.hostile', 'ip', 'varchar(256)', await store('ip', ['10.0.0.1']))
  await admin.query(`CREATE TABLE public.seen (who name); GRANT ALL ON public.seen TO PUBLIC;
    CREATE FUNCTION public.spy() RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE WARNING 'ran as %', current_user; RETURN true; END $$;
    CREATE INDEX ON public.hostile (token) WHERE public.spy()`)
  const warnings: string[] = []
  const client = await vault.connect('tokenvault_auditor')
  client.on('notice', ({ message }) => warnings.push(String(message)))
  await client.query('SELECT token FROM public.hostile')
  t.ok(warnings.every(text => text === 'ran as tokenvault_auditor'), String(warnings)) // biome-ignore format: one line
  const { rows } = await admin.query(
    `SELECT p.proname FROM pg_proc p WHERE prosecdef AND prosrc LIKE '%token_columns%'`,
  )
  t.strictSame(rows, [], 'no function of the owner reads the tables that are entered')
  t.match(await found(), { isConsistent: true })
  await forgetColumn(database, 'hostile', 'token')
})

t.test('the auditor reads the column of tokens and nothing else of the table', async t => {
  const client = await vault.connect('tokenvault_auditor')
  await client.query('SELECT token FROM public.proven')
  for (const statement of [
    'SELECT clear FROM public.proven',
    'SELECT * FROM public.proven',
    'UPDATE public.proven SET token = NULL',
    `INSERT INTO pii_vault.token_columns VALUES ('a', 'b', 'c', 'ip')`,
  ])
    await t.rejects(client.query(statement), { code: '42501' }, statement)
})

t.test(
  'migrate leaves these grants alone, gives back what a restore lost, and tells what only the owner can give',
  async t => {
    t.strictSame((await migrate(database)).mended, [])
    t.equal((await found()).isConsistent, true)
    // As a restore without roles does, and one without grants.
    const lost = `REVOKE SELECT (token) ON public.proven FROM tokenvault_auditor; REVOKE ALL ON SCHEMA "Odd ""app" FROM tokenvault_auditor`
    await admin.query(lost)
    const seen = (await inspectDatabase(database)).filter(({ says }) => /which holds tokens/.test(says))
    t.match(seen, [
      {
        code: 'grant_missing',
        status: 'warn',
        says: 'column token of "Odd ""app"."Hösts, all", which holds tokens, may not be read by tokenvault_auditor',
      },
      {
        code: 'grant_missing',
        remedy:
          'as the owner of the table: GRANT USAGE ON SCHEMA public TO tokenvault_auditor; GRANT SELECT (token) ON public.proven TO tokenvault_auditor',
      },
    ])
    const { mended } = await migrate(database)
    t.ok(mended.includes('GRANT SELECT (token) ON public.proven TO tokenvault_auditor'), String(mended))
    t.equal((await found()).isConsistent, true)

    await admin.query(`CREATE ROLE ${vault.name}_migrator LOGIN PASSWORD 'secret' IN ROLE tokenvault_owner; ${lost}`)
    t.teardown(() => admin.query(`DROP OWNED BY ${vault.name}_migrator; DROP ROLE ${vault.name}_migrator`))
    await admin.query(`GRANT CONNECT, CREATE ON DATABASE ${vault.name} TO ${vault.name}_migrator; GRANT ALL ON SCHEMA tokenvault_migrations TO ${vault.name}_migrator;
    GRANT ALL ON ALL TABLES IN SCHEMA tokenvault_migrations TO ${vault.name}_migrator`)
    const other = openDatabase(t, withLogin(vault.adminUrl, `${vault.name}_migrator`, 'secret'), 1)
    const { findings } = await migrate(other)
    t.equal(findings.filter(({ says }) => /which holds tokens/.test(says)).length, 2, 'it owns neither table')
    await migrate(database)
    t.strictSame((await inspectDatabase(vault.database('tokenvault_worker', 1))).filter(({ says }) => /holds tokens/.test(says)), [], 'whoever may not read the list is told nothing') // biome-ignore format: one line
  },
)

t.test('a login that may not grant is told the SQL, before anything is entered', async t => {
  await admin.query(`CREATE TABLE public.of_another (id int PRIMARY KEY, clear text, token varchar(256)); GRANT SELECT, UPDATE ON public.of_another TO tokenvault_analyst;
    CREATE TABLE public.half_hidden (id int PRIMARY KEY, clear text, token varchar(256)); ALTER TABLE public.half_hidden ENABLE ROW LEVEL SECURITY`)
  const wanted = { column: 'clear', to: 'token', format: 'text' } as const
  const stranger = openDatabase(t, vault.urlFor('tokenvault_analyst'), 1)
  const table = await findTokenTable(stranger, { table: 'of_another', ...wanted })
  await t.rejects(registerColumn(stranger, table, 'ip'), {
    code: 'table_unsuitable',
    message:
      /as the owner of the table: GRANT USAGE ON SCHEMA public TO tokenvault_auditor; GRANT SELECT \(token\) ON public\.of_another TO tokenvault_auditor$/,
  })
  await admin.query('GRANT SELECT (token) ON public.of_another TO tokenvault_auditor')
  await t.rejects(
    registerColumn(stranger, table, 'ip'),
    { code: 'store_misconfigured' },
    'it may not enter columns either',
  )
  const hidden = await findTokenTable(database, { table: 'half_hidden', ...wanted })
  await t.rejects(registerColumn(database, hidden, 'ip'), {
    message: /CREATE POLICY tokenvault_auditor ON public\.half_hidden FOR SELECT TO tokenvault_auditor USING \(true\)$/,
  })
  const { rows } = await admin.query(
    `SELECT FROM pii_vault.token_columns WHERE table_name IN ('of_another', 'half_hidden')`,
  )
  t.equal(rows.length, 0)
})

t.test('a column is entered for one field, and forgotten with its grant, also when its table is gone', async t => {
  const table = await findTokenTable(database, { table: 'proven', column: 'clear', to: 'token', format: 'text' })
  await t.rejects(registerColumn(database, table, 'device_id'), {
    code: 'table_unsuitable',
    message: /is entered for tokens of field ip; --forget/,
  })
  await registerColumn(database, table, 'ip')
  t.match(await forgetColumn(database, 'proven', 'token'), { schema: 'public', table: 'proven', field: 'ip' })
  t.equal(await forgetColumn(database, 'proven', 'token'), undefined)
  await t.rejects((await vault.connect('tokenvault_auditor')).query('SELECT token FROM public.proven'), {
    code: '42501',
  })
  await admin.query(
    'DROP TABLE public.installs; CREATE TABLE "Odd ""app".proven (id int PRIMARY KEY, clear text, token varchar(256))',
  )
  t.match(await forgetColumn(database, 'public.installs', 'token'), { table: 'installs' })
  await registerColumn(database, table, 'ip')
  await registerColumn(
    database,
    await findTokenTable(database, { table: '"Odd ""app".proven', column: 'clear', to: 'token', format: 'text' }),
    'ip',
  )
  await t.rejects(forgetColumn(database, 'proven', 'token'), { message: /several tables of that name/ })
  t.match(
    await forgetColumn(database, 'Odd "app.proven', 'token'),
    undefined,
    'a quotation mark in a bare name is not one',
  )
  t.match(await forgetColumn(database, '"Odd ""app".proven', 'token'), { schema: 'Odd "app' })
  for (const text of ['', '.', '"', 'a\0']) t.equal(await forgetColumn(database, text, 'token'), undefined)
})
