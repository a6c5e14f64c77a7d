import { readFileSync, writeFileSync } from 'node:fs'
import t from 'tap'
import { describeSchema } from '../../helpers/postgres/describe-schema.ts'
import { createVaultDatabase } from '../../helpers/postgres/vault-database.ts'

const schemaFile = new URL('../../schema.sql', import.meta.url)
const header = `-- What the migrations make, as test/helpers/describe-schema.ts reads it from pg_catalog. Never edited by hand:
-- UPDATE_SCHEMA=1 npx tap test/store/schema.test.ts\n\n`

t.test('the migrated schema is the one that test/schema.sql shows', async t => {
  const schema = header + (await describeSchema(await (await createVaultDatabase(t)).connect()))
  if (process.env['UPDATE_SCHEMA'] === '1') writeFileSync(schemaFile, schema)
  const committed = readFileSync(schemaFile, 'utf8')
  t.equal(schema, committed, 'differs; if that is meant: UPDATE_SCHEMA=1 npx tap test/store/schema.test.ts')
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

t.test('every table that src/store/schema.ts declares has exactly the columns that it declares', async t => {
  const source = readFileSync(new URL('../../../src/store/postgres/schema.ts', import.meta.url), 'utf8')
  const bodyOf = (name: string) => new RegExp(`export interface ${name} \\{\\n([^}]*)\\}`).exec(source)![1]!
  const members = (name: string) =>
    [...bodyOf(name).matchAll(/^ {2}'?([a-z_.]+)'?: (.+)$/gm)].map(([, member, type]) => [member!, type!] as const)
  const client = await (await createVaultDatabase(t)).connect()
  const tables = members('Database')
  t.equal(tables.length, 5)
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
    Uint8Array: 'bytes',
    'Uint8Array | null': 'bytes',
    CreatedAt: 'time',
    'Generated<Date>': 'time',
    'SetLater<string>': 'text',
    'SetLater<number>': 'number',
  }
  return kindsOfTypes[type] ?? type
}
