import t from 'tap'
import type { TokenvaultError } from '../../../src/errors.ts'
import { findTokenTable } from '../../../src/store/columns/find-table.ts'
import { createColumnRows, type FillableTable } from '../../../src/store/columns/rows.ts'
import { createVaultDatabase, openDatabase } from '../../helpers/postgres/vault-database.ts'

const vault = await createVaultDatabase(t)
const admin = await vault.connect()
const database = vault.database(undefined, 2)
const find = (
  table: string,
  options: { column?: string; to?: string; key?: string[]; format?: 'text' | 'uuid' | 'inet' } = {},
) => findTokenTable(database, { table, column: 'ip', to: 'ip_token', format: 'text', ...options })

/** Each is refused by a message that names what is wrong; `table` is `refused.n` unless given. */
const refusals: readonly [name: string, sql: string, options: Parameters<typeof find>[1] & { table?: string }, says: RegExp][] = [
  ['no table', '', { table: 'nowhere' }, /^no table of the name in --table is found/],
  ['no name', '', { table: 'a.b.c' }, /^no table of the name in --table/],
  ['an unclosed name', '', { table: '"a' }, /^no table of the name in --table/],
  ['a NUL', '', { table: 'a\0' }, /^no table of the name in --table/],
  ['a view', 'CREATE VIEW refused.n AS SELECT 1 AS id, text \'\' AS ip, text \'\' AS ip_token', {}, /^refused\.n is a view/],
  ['a materialized view', 'CREATE MATERIALIZED VIEW refused.n AS SELECT 1 AS id, text \'\' AS ip', {}, /is a materialized view/],
  ['a foreign table', `CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w; CREATE FOREIGN TABLE refused.n (id int, ip text, ip_token text) SERVER s`, {}, /is a foreign table/],
  ['a foreign partition', `CREATE TABLE refused.n (id int PRIMARY KEY, ip text, ip_token text) PARTITION BY LIST (id); ALTER TABLE refused.n DROP CONSTRAINT n_pkey; CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w; CREATE FOREIGN TABLE refused.part PARTITION OF refused.n DEFAULT SERVER s`, {}, /a partition of refused\.n is a foreign table/],
  ['a sequence', 'CREATE SEQUENCE refused.n', {}, /is a sequence/],
  ['an index', 'CREATE TABLE refused.m (id int); CREATE INDEX n ON refused.m (id)', {}, /is an index/],
  ['user_logins', '', { table: 'user_logins', column: 'user_id', to: 'masked_ip' }, /^public\.user_logins belongs to Postgres or to tokenvault itself/],
  ['the catalog', '', { table: 'pg_catalog.pg_class' }, /belongs to Postgres/],
  ['originals', '', { table: 'pii_vault.originals' }, /belongs to Postgres or to tokenvault/],
  ['parents of other tables', 'CREATE TABLE refused.n (id int PRIMARY KEY, ip text, ip_token text); CREATE TABLE refused.child () INHERITS (refused.n)', {}, /other tables inherit from refused\.n/],
  ['no such column', 'CREATE TABLE refused.n (id int PRIMARY KEY, ip_token text)', {}, /refused\.n has no column ip$/],
  ['one column for both', 'CREATE TABLE refused.n (id int PRIMARY KEY, ip text)', { to: 'ip' }, /name the same column/],
  ['numbers', 'CREATE TABLE refused.n (id int PRIMARY KEY, ip bigint, ip_token text)', {}, /column ip of refused\.n is of type bigint; text, /],
  ['JSON', 'CREATE TABLE refused.n (id int PRIMARY KEY, ip jsonb, ip_token text)', {}, /is of type jsonb/],
  ['arrays', 'CREATE TABLE refused.n (id int PRIMARY KEY, ip text[], ip_token text)', {}, /is of type text\[\]/],
  ['an enumeration named as a type that can be read', `CREATE TYPE refused.inet AS ENUM ('a'); CREATE TABLE refused.n (id int PRIMARY KEY, ip refused.mine, ip_token text)`.replace('refused.inet', 'refused.mine'), {}, /is of type refused\.mine/],
  ['generated values', 'CREATE TABLE refused.n (id int PRIMARY KEY, c text, ip text GENERATED ALWAYS AS (lower(c)) STORED, ip_token text)', {}, /column ip of refused\.n is generated/],
  ['generated tokens', 'CREATE TABLE refused.n (id int PRIMARY KEY, ip text, ip_token text GENERATED ALWAYS AS (ip) STORED)', {}, /column ip_token of refused\.n is generated/],
  ['too short a column', 'CREATE TABLE refused.n (id int PRIMARY KEY, ip text, ip_token varchar(60))', {}, /is of type character varying\(60\), and tokens of this field need varchar\(256\): ALTER TABLE refused\.n ALTER COLUMN ip_token TYPE varchar\(256\)/],
  ['a column of another format', 'CREATE TABLE refused.n (id int PRIMARY KEY, ip text, ip_token text)', { format: 'uuid' }, /is of type text, and tokens of this field need uuid/],
  ['a column that is never null', `CREATE TABLE refused.n (id int PRIMARY KEY, ip text, ip_token text NOT NULL DEFAULT '')`, {}, /column ip_token of refused\.n is NOT NULL/],
  ['no key', 'CREATE TABLE refused.n (id int, ip text, ip_token text)', {}, /refused\.n has no primary key/],
  ['a key that may be null', 'CREATE TABLE refused.n (id int UNIQUE, ip text, ip_token text)', { key: ['id'] }, /no unique index on exactly the columns of --key/],
  ['a part of a key', 'CREATE TABLE refused.n (id int, n int, ip text, ip_token text, PRIMARY KEY (id, n))', { key: ['id'] }, /no unique index on exactly/],
  ['a key of some rows', 'CREATE TABLE refused.n (id int NOT NULL, ip text, ip_token text); CREATE UNIQUE INDEX ON refused.n (id) WHERE id > 0', { key: ['id'] }, /no unique index on exactly/],
  ['a key of expressions', 'CREATE TABLE refused.n (id int NOT NULL, ip text, ip_token text); CREATE UNIQUE INDEX ON refused.n (id, abs(id))', { key: ['id'] }, /no unique index on exactly/],
  ['a key that is checked later', 'CREATE TABLE refused.n (id int PRIMARY KEY DEFERRABLE, ip text, ip_token text)', {}, /no primary key/],
  ['values as the key', 'CREATE TABLE refused.n (ip text PRIMARY KEY, ip_token text)', {}, /column ip is part of the key of refused\.n, by which rows are updated, and would go back as a parameter/],
  ['values in the key', 'CREATE TABLE refused.n (id int, ip text, ip_token text, PRIMARY KEY (id, ip))', {}, /column ip is part of the key/],
  ['tokens in the key', 'CREATE TABLE refused.n (ip text, ip_token text NOT NULL UNIQUE)', { key: ['ip_token'] }, /column ip_token of refused\.n is NOT NULL/],
  ['tokens that choose the partition', 'CREATE TABLE refused.n (id int, ip text, ip_token text) PARTITION BY LIST (ip_token); CREATE TABLE refused.p PARTITION OF refused.n DEFAULT; ALTER TABLE refused.p ADD PRIMARY KEY (id)', {}, /has no primary key|decides about partitions/],
  ['a check of the tokens', 'CREATE TABLE refused.n (id int PRIMARY KEY, ip text, ip_token text CONSTRAINT short CHECK (length(ip_token) < 9))', {}, /constraint short on refused\.n would, where it refuses a row, write values/],
  ['a check of a partition', 'CREATE TABLE refused.n (id int PRIMARY KEY, ip text, ip_token text) PARTITION BY RANGE (id); CREATE TABLE refused.p PARTITION OF refused.n (CONSTRAINT short CHECK (ip_token < ip)) DEFAULT', {}, /constraint short on refused\.n/],
  ['a check that rows may fail', `CREATE TABLE refused.n (id int PRIMARY KEY, ip text, ip_token text); ALTER TABLE refused.n ADD CONSTRAINT later CHECK (ip <> 'x') NOT VALID`, {}, /constraint later on refused\.n/],
  ['values and tokens unique together', 'CREATE TABLE refused.n (id int PRIMARY KEY, ip text, ip_token text, CONSTRAINT both_once UNIQUE (ip, ip_token))', {}, /constraint both_once on refused\.n/],
  ['an index of values and tokens', 'CREATE TABLE refused.n (id int PRIMARY KEY, ip text, ip_token text); CREATE UNIQUE INDEX "Both" ON refused.n (ip, ip_token)', {}, /index "Both" on refused\.n/],
  ['an index of what tokens and values make', 'CREATE TABLE refused.n (id int PRIMARY KEY, ip text, ip_token text); CREATE UNIQUE INDEX made ON refused.n ((ip || ip_token))', {}, /index made on refused\.n/],
] // biome-ignore format: a case a line

t.test('what cannot be filled without doubt is refused by name, with what to do', async t => {
  for (const [name, sql, { table = 'refused.n', ...options }, says] of refusals) {
    await admin.query(`BEGIN; CREATE SCHEMA refused; ${sql.includes('PARTITION OF') ? sql : sql}; COMMIT`)
    const refused = await find(table, options).then(
      () => undefined,
      (error: TokenvaultError) => error,
    )
    t.match(refused, { code: 'table_unsuitable', message: says }, name)
    await admin.query('DROP SCHEMA refused CASCADE; DROP FOREIGN DATA WRAPPER IF EXISTS w CASCADE')
  }
})

/** A key of each kind with three values in their order; rows are read one by one and by key. */
const keys: readonly [type: string, values: readonly string[]][] = [
  ['int', ['-3', '2', '10']],
  ['bigint', ['2', '10', '9223372036854775807']],
  ['numeric(6,2)', ['-1.50', '2.00', '10.25']],
  ['float8', ['-Infinity', '0.1', 'NaN']],
  ['text COLLATE "C"', ['', '"quoted, \\', 'ä']],
  ['varchar(9)', ['B', 'a', "it's"]],
  ['char(5)', ['a', 'a b', 'b']],
  ['uuid', ['00000000-0000-0000-0000-000000000001', '00000000-0000-0000-0000-000000000002', 'ffffffff-ffff-ffff-ffff-ffffffffffff']],
  ['inet', ['10.0.0.0/8', '10.0.0.1', '::1']],
  ['date', ['-infinity', '2026-01-31', '10000-01-01']],
  ['timestamptz', ['2026-01-01 00:00:00.000001+00', '2026-01-01 00:00:00.000002+00', 'infinity']],
  ['timestamp(3)', ['0044-03-15 00:00:00 BC', '2026-01-01 00:00:00.001', '2026-01-01 00:00:00.002']],
  ['interval', ['1 day', '32 days', '1 year']],
  ['bytea', ['\\x', '\\x00', '\\xff']],
  ['boolean', ['false', 'true']],
  ['"Odd "" schema"."Kind"', ['z', 'a', 'm']],
  ['"Odd "" schema".short', ['a', 'b', 'c']],
  ['int[]', ['{}', '{1,2}', '{1,10}']],
] // biome-ignore format: a case a line

t.test('a key of any type leads to each row once, in order, and updates just that row', async t => {
  await admin.query(`CREATE SCHEMA "Odd "" schema"; CREATE TYPE "Odd "" schema"."Kind" AS ENUM ('z', 'a', 'm');
    CREATE DOMAIN "Odd "" schema".short AS text CHECK (length(value) < 5)`)
  for (const [type, values] of keys) {
    await admin.query(`CREATE TABLE "Odd "" schema"."Näme.of ""it" (
      "K 1" ${type}, k2 text COLLATE "C" DEFAULT 'ß', "Ip" inet, "To ken" varchar(256), PRIMARY KEY ("K 1", k2))`)
    const insert = 'INSERT INTO "Odd "" schema"."Näme.of ""it" ("K 1", "Ip") VALUES ($1, $2)'
    for (const [n, value] of values.entries()) await admin.query(insert, [value, `10.0.0.${n}`])
    const table = await find('"Odd "" schema"."Näme.of ""it"', { column: 'Ip', to: 'To ken' })
    const rows = createColumnRows(database, table as FillableTable)
    const read: (string | null)[] = []
    let after: readonly string[] | undefined
    for (;;) {
      const [row] = await rows.read('open', after, 1)
      if (row === undefined) break
      read.push(row.value)
      after = row.key
    }
    t.strictSame(read, values.map((_, n) => `10.0.0.${n}`), type) // biome-ignore format: one line
    const all = await rows.read('open', undefined, 10)
    t.equal(
      await rows.write(all.map(({ key, version }, n) => ({ key, version, token: `token-${n}` }))),
      values.length,
      type,
    )
    const { rows: found } = await admin.query(
      `SELECT host("Ip") AS ip, "To ken" AS token FROM "Odd "" schema"."Näme.of ""it" ORDER BY 1`,
    )
    t.strictSame(found, values.map((_, n) => ({ ip: `10.0.0.${n}`, token: `token-${n}` })), type) // biome-ignore format: one line
    await admin.query('DROP TABLE "Odd "" schema"."Näme.of ""it"')
  }
})

t.test('values are read as the text that tokens are made from, and long ones not at all', async t => {
  const cases: readonly [type: string, written: string, read: string | null][] = [
    ['inet', '203.0.113.7', '203.0.113.7'],
    ['inet', '203.0.113.0/24', '203.0.113.0/24'],
    ['inet', '2001:DB8::1', '2001:db8::1'],
    ['uuid', 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'],
    ['char(20)', 'padded', 'padded'],
    ['varchar(30)', ' kept ', ' kept '],
    ['text', 'é\u{1F600}\n\u0001', 'é\u{1F600}\n\u0001'],
    ['text', '', ''],
    ['text', 'x'.repeat(1024), 'x'.repeat(1024)],
    ['text', 'ä'.repeat(513), null],
  ]
  for (const [type, written, read] of cases) {
    await admin.query(`CREATE TABLE public.values_of (id int PRIMARY KEY, ip ${type}, ip_token text)`)
    await admin.query('INSERT INTO public.values_of (id, ip) VALUES (1, $1), (2, NULL)', [written])
    const rows = createColumnRows(database, (await find('values_of')) as FillableTable)
    t.strictSame((await rows.read('open', undefined, 9)).map(({ value }) => value), [read], `${type} ${written.slice(0, 20)}`) // biome-ignore format: one line
    await admin.query('DROP TABLE public.values_of')
  }
})

t.test('a row that changed after it was read, in whatever column, is not updated', async t => {
  await admin.query(`CREATE TABLE public.moving (id int PRIMARY KEY, ip text, other int, ip_token text);
    INSERT INTO public.moving SELECT n, '10.0.0.' || n FROM generate_series(1, 5) AS n`)
  const rows = createColumnRows(database, (await find('moving')) as FillableTable)
  const read = await rows.read('open', undefined, 10)
  await admin.query(`UPDATE public.moving SET ip = '10.9.9.9' WHERE id = 1; UPDATE public.moving SET other = 1 WHERE id = 2;
    DELETE FROM public.moving WHERE id = 3; UPDATE public.moving SET ip = NULL WHERE id = 4`)
  t.equal(await rows.write(read.map(({ key, version }) => ({ key, version, token: 'token' }))), 1)
  const { rows: found } = await admin.query('SELECT id FROM public.moving WHERE ip_token IS NOT NULL')
  t.strictSame(found, [{ id: 5 }])
  t.strictSame(await rows.count(), { total: 4, filled: 1, open: 2 })
})

t.test('a partitioned table is filled through its parent', async t => {
  await admin.query(`CREATE TABLE public.parted (id int, day date, ip text, ip_token text, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
    CREATE TABLE public.parted_1 PARTITION OF public.parted FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
    CREATE TABLE public.parted_2 PARTITION OF public.parted DEFAULT;
    INSERT INTO public.parted SELECT n, date '2026-01-30' + n, '10.0.0.' || n FROM generate_series(1, 4) AS n`)
  const rows = createColumnRows(database, (await find('parted')) as FillableTable)
  const read = await rows.read('open', undefined, 10)
  t.equal(read.length, 4)
  t.equal(await rows.write(read.map(({ key, version }) => ({ key, version, token: 'token' }))), 4)
})

t.test('row-level security that hides rows from the login is refused, and one that does not is fine', async t => {
  await admin.query(`CREATE TABLE public.guarded (id int PRIMARY KEY, ip text, ip_token text); ALTER TABLE public.guarded ENABLE ROW LEVEL SECURITY;
    GRANT SELECT, UPDATE ON public.guarded TO tokenvault_analyst`)
  await find('guarded')
  const other = openDatabase(t, vault.urlFor('tokenvault_analyst'), 1)
  const wanted = { table: 'guarded', column: 'ip', to: 'ip_token', format: 'text' } as const
  await t.rejects(findTokenTable(other, wanted), {
    code: 'table_unsuitable',
    message: /^row-level security hides rows of public\.guarded/,
  })
  await admin.query(
    'REVOKE UPDATE ON public.guarded FROM tokenvault_analyst; ALTER TABLE public.guarded DISABLE ROW LEVEL SECURITY',
  )
  await t.rejects(findTokenTable(other, wanted), { message: /^this login may not update column ip_token/ })
  await admin.query('REVOKE SELECT ON public.guarded FROM tokenvault_analyst')
  await t.rejects(findTokenTable(other, wanted), { message: /^this login may not read column ip / })
})

t.test('names are found as SQL finds them, and with capitals also as they stand', async t => {
  await admin.query(`CREATE SCHEMA "App"; CREATE TABLE "App"."Users" (id int PRIMARY KEY, "IP" text, ip_token text);
    CREATE TABLE public.plain (id int PRIMARY KEY, ip text, ip_token text); CREATE SCHEMA other; CREATE TABLE other."PLAIN" (id int PRIMARY KEY, ip text, ip_token text)`)
  for (const text of ['App.Users', '"App"."Users"', 'App."Users"'])
    t.equal((await find(text, { column: 'IP' })).name, '"App"."Users"', text)
  for (const text of ['plain', 'PLAIN', 'public.Plain', '"plain"'])
    t.equal((await find(text)).name, 'public.plain', text)
  t.equal((await find('other.PLAIN')).name, 'other."PLAIN"')
  t.equal((await find('App.Users', { column: '"IP"' })).value.name, 'IP')
  await t.rejects(find(`plain; DROP TABLE plain`), { code: 'table_unsuitable' })
  await t.rejects(find('plain', { column: `ip" from plain; drop table plain --` }), {
    message: /has no column "ip"" from plain; drop/,
  })
})

t.test('a key that --key names is one of exactly these columns, in any order', async t => {
  await admin.query(`CREATE TABLE public.keyed (a int NOT NULL, b text NOT NULL, ip text, ip_token text UNIQUE);
    CREATE UNIQUE INDEX ON public.keyed (b, a) INCLUDE (ip)`)
  t.strictSame((await find('keyed', { key: ['a', 'b'] })).key, [{ name: 'b', type: 'text' }, { name: 'a', type: 'integer' }]) // biome-ignore format: one line
})
