import { readFileSync, writeFileSync } from 'node:fs'
import t from 'tap'
import { readExpectedFacts, readFacts } from '../../../src/store/setup/catalog.ts'
import { migrate } from '../../../src/store/setup/migrate.ts'
import { describeSchema } from '../../helpers/postgres/describe-schema.ts'
import { createTestDatabase } from '../../helpers/postgres/embedded-postgres.ts'
import { createVaultDatabase, openDatabase } from '../../helpers/postgres/vault-database.ts'

const schemaFile = new URL('../../schema.sql', import.meta.url)
const catalogFile = new URL('../../../src/store/setup/catalog.json', import.meta.url)
const header = `-- What the migrations make, as test/helpers/postgres/describe-schema.ts reads it from pg_catalog. Never edited by hand:
-- UPDATE_SCHEMA=1 npx tap test/store/setup/schema.test.ts\n\n`

t.test('what migrate compares a database with is what the migrations alone make', async t => {
  const { adminUrl } = await createTestDatabase(t)
  const database = openDatabase(t, adminUrl, 1)
  // Files of another directory: nothing is compared, and nothing taken back, that catalog.json does not hold yet.
  await migrate(database, new URL('../../../migrations/', import.meta.url))
  const found = await database.transaction().execute(transaction => readFacts(transaction))
  const facts = found.map(({ what, on, is, to }) => JSON.stringify({ what, on, is, to }))
  if (process.env['UPDATE_SCHEMA'] === '1') writeFileSync(catalogFile, `[\n${facts.join(',\n')}\n]\n`)
  const committed = readExpectedFacts().map(fact => JSON.stringify(fact))
  t.strictSame(facts, committed, 'differs; if that is meant: UPDATE_SCHEMA=1 npx tap test/store/setup/schema.test.ts')
  t.ok(facts.length > 390, `${facts.length} facts`)
  t.notOk(found.some(({ what }) => ['privileged', 'lost', 'default'].includes(what)))
})

t.test('the migrated schema is the one that test/schema.sql shows', async t => {
  const schema = header + (await describeSchema(await (await createVaultDatabase(t)).connect()))
  if (process.env['UPDATE_SCHEMA'] === '1') writeFileSync(schemaFile, schema)
  const committed = readFileSync(schemaFile, 'utf8')
  t.equal(schema, committed, 'differs; if that is meant: UPDATE_SCHEMA=1 npx tap test/store/setup/schema.test.ts')
})

t.test('user_logins has exactly the seven columns that analysts were promised', async t => {
  const client = await (await createVaultDatabase(t)).connect()
  const { rows } = await client.query({
    text: `SELECT column_name, data_type, character_maximum_length, is_nullable FROM information_schema.columns
      WHERE table_schema = 'public' AND table_name = 'user_logins' ORDER BY ordinal_position`,
    rowMode: 'array',
  })
  t.strictSame(rows, [
    ['user_id', 'character varying', 128, 'YES'],
    ['device_type', 'character varying', 32, 'YES'],
    ['masked_ip', 'character varying', 256, 'YES'],
    ['masked_device_id', 'character varying', 256, 'YES'],
    ['locale', 'character varying', 32, 'YES'],
    ['app_version', 'integer', null, 'YES'],
    ['create_date', 'date', null, 'YES'],
  ])
})

t.test('every schema, table, view and column says in psql what it is', async t => {
  const client = await (await createVaultDatabase(t)).connect()
  const { rows } = await client.query<{ name: string; type: string | null; nullable: boolean; comment: string | null }>(
    `WITH relation AS (
       SELECT c.* FROM pg_class c WHERE relnamespace IN ('public'::regnamespace, 'analyst'::regnamespace, 'ingest'::regnamespace, 'pii_vault'::regnamespace)
         AND relkind IN ('r', 'p', 'v', 'm', 'f'))
     SELECT nspname AS name, NULL AS type, false AS nullable, obj_description(oid, 'pg_namespace') AS comment
       FROM pg_namespace WHERE nspname IN ('analyst', 'ingest', 'pii_vault')
     UNION ALL
     SELECT oid::regclass::text, NULL, false, obj_description(oid, 'pg_class') FROM relation
     UNION ALL
     SELECT format('%s.%s', attrelid::regclass, attname), atttypid::regtype::text,
       relkind = 'r' AND NOT attnotnull, col_description(attrelid, attnum)
       FROM pg_attribute JOIN relation ON relation.oid = attrelid WHERE attnum > 0 AND NOT attisdropped AND NOT relispartition
     ORDER BY 1`,
  )
  t.ok(rows.length > 80, `${rows.length} objects`)
  for (const { name, type, nullable, comment } of rows) {
    t.match(comment, /^[a-zA-Z].{9,}\.$/, name)
    if (type === 'date') t.match(comment, /\bUTC day\b/, `${name} says of which time zone its days are`)
    if (nullable) t.match(comment, /\bnull\b/, `${name} says what null means`)
  }
})

t.test('every table that src/store/postgres/schema.ts declares has exactly the columns that it declares', async t => {
  const source = readFileSync(new URL('../../../src/store/postgres/schema.ts', import.meta.url), 'utf8')
  const bodyOf = (name: string) => new RegExp(`export interface ${name} \\{\\n([^}]*)\\}`).exec(source)![1]!
  const members = (name: string) =>
    [...bodyOf(name).matchAll(/^ {2}'?([a-z_.]+)'?: (.+)$/gm)].map(([, member, type]) => [member!, type!] as const)
  const client = await (await createVaultDatabase(t)).connect()
  const tables = members('Database')
  t.equal(tables.length, 6)
  for (const [table, type] of tables) {
    const { rows } = await client.query<[string, string]>({
      text: `SELECT attname, atttypid::regtype::text FROM pg_attribute
        WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped`,
      values: [table],
      rowMode: 'array',
    })
    const declared = members(type).map(([column, declaredType]) => [column, fits(declaredType)])
    t.strictSame(declared.toSorted(), rows.map(([column, columnType]) => [column, kinds[columnType]]).toSorted(), table)
  }
})

const kinds: Record<string, string> = {
  'character varying': 'text',
  text: 'text',
  uuid: 'text',
  smallint: 'number',
  boolean: 'flag',
  integer: 'number',
  bigint: 'number',
  date: 'text',
  bytea: 'bytes',
  'timestamp with time zone': 'time',
}

function fits(type: string): string {
  if (/^(Day|string( \| null)?|'.*')$/.test(type)) return 'text'
  const kindsOfTypes: Record<string, string> = {
    number: 'number',
    'number | null': 'number',
    Uint8Array: 'bytes',
    'Uint8Array | null': 'bytes',
    boolean: 'flag',
    CreatedAt: 'time',
    'Generated<Date>': 'time',
    'Optional<Date>': 'time',
    'Optional<Day>': 'text',
    OptionalCount: 'number',
    'SetLater<string>': 'text',
    'SetLater<number>': 'number',
  }
  return kindsOfTypes[type] ?? type
}
