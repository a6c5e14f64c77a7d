import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { DuckDBInstance } from '@duckdb/node-api'
import t from 'tap'
import { archiveMonth, eraseFromArchive, exportMonths, openArchivist, recallMonth } from '../../src/compose/archive.ts'
import { loadConfig } from '../../src/config/load.ts'
import { temporaryDirectory } from '../helpers/embedded/embedded-directory.ts'
import { startS3 } from '../helpers/evidence/s3-server.ts'
import { createVaultDatabase } from '../helpers/postgres/vault-database.ts'

const vault = await createVaultDatabase(t)
const admin = await vault.connect()
const s3 = await startS3(t, ['rows'])
const environment = {
  ...{
    DATABASE_URL: vault.adminUrl,
    KEK_FILE: vault.kekFile,
    AWS_ENDPOINT_URL_S3: s3.endpoint,
    AWS_REGION: 'eu-west-1',
  },
  ...{ AWS_ACCESS_KEY_ID: 'AKIATEST', AWS_SECRET_ACCESS_KEY: 'secret' },
}
const archivist = { ...(await openArchivist(loadConfig('migrate', environment), environment)), batchRows: 1000 }
t.teardown(() => archivist.close())
const value = '203.0.113.77'
const { token } = vault.tokenizer.tokenizeValues('ip', [value])[0] as { token: string }
const rowsOf = async (table: string) => {
  const { rows } = await admin.query<{ r: string }>(`select row_to_json(t)::text as r from ${table} t order by 1`)
  return rows.map(({ r }) => r)
}
const all = () => Promise.all(['public.user_logins', 'analyst.login_details'].map(rowsOf))
const archivedTokens = async () =>
  Number((await admin.query('select count(*) from pii_vault.archived_tokens')).rows[0].count)
const partitionOf = async (month: string) =>
  (await admin.query('select to_regclass($1) is not null as there', [`ingest.user_logins_${month}`])).rows[0].there

/** 3,000 rows, three row groups, twins among them; a month with a partition and one without. */
await admin.query(`
  set role tokenvault_owner;
  create table ingest.user_logins_2025_11 (like public.user_logins including all);
  alter table public.user_logins attach partition ingest.user_logins_2025_11 for values from ('2025-11-01') to ('2025-12-01');
  alter table analyst.login_details add price numeric(9,2), add seen timestamptz, add score double precision, add big bigint, add is_new boolean, add born date;
  insert into public.user_logins select 'u' || n % 900, case when n % 7 > 0 then 'ios' end, '${token}', 'x', E'ä\\t"', n % 9, date '2025-11-01' + n % 30 from generate_series(1, 3000) n;
  insert into public.user_logins select 'u' || n, null, null, null, null, null, date '2025-10-31' from generate_series(1, 3) n;
  insert into analyst.login_details (login_id, user_id, create_date, price, seen, score, big, is_new, born)
    select gen_random_uuid(), 'u' || n, date '2025-11-30', n / 7.0, timestamptz '2025-11-30 01:02:03.456789+00', 1.0 / n, 9007199254740993 + n, n % 2 = 0, date '1900-01-01' + n
    from generate_series(1, 50) n;
  reset role`)

async function testLife(t: Tap, target: string) {
  const before = await all()
  const place = await archivist.openPlace(target)
  t.teardown(() => place.close())
  for (const month of await archivist.store.monthsBefore('2025-12'))
    await archiveMonth(archivist, place, { month, target })
  t.same(await all(), [[], []], 'nothing is left in the database')
  t.notOk(await partitionOf('2025_11'), 'the partition is dropped')
  t.equal(await archivedTokens(), 1, 'the one token of the month is known to be archived')
  const { rows: months } = await admin.query(
    'select month, state, rows::int from analyst.archived_months where target = $1 order by month',
    [target],
  )
  t.match(months, [
    { state: 'archived', rows: 3 },
    { state: 'archived', rows: 3000 },
  ])
  await admin.query(`insert into public.user_logins values ('late', null, null, null, null, null, '2025-11-05')`)
  await archiveMonth(archivist, place, { month: '2025-11', target })
  t.equal((await recallMonth(archivist, { month: '2025-11' })).rows, 3001, 'with what came late, as a second part')
  await t.rejects(recallMonth(archivist, { month: '2025-11' }), {
    code: 'month_not_archived',
    message: /recalled before/,
  })
  await recallMonth(archivist, { month: '2025-10' })
  await admin.query(`delete from public.user_logins where user_id = 'late'`)
  t.same(await all(), before, 'every row is as it was, twins too')
  t.ok(await partitionOf('2025_11'), 'in a partition again')
  t.equal(await archivedTokens(), 0)
}
type Tap = typeof t

t.test('a month leaves the database and comes back: files', async t => {
  const directory = temporaryDirectory(t)
  await testLife(t as Tap, pathToFileURL(directory).href)
  const names = readdirSync(directory, { recursive: true, encoding: 'utf8' }).filter(name => /parquet|note/.test(name))
  t.notOk(
    names.some(name => name.includes('.draft')),
    'no draft is left',
  )
  for (const name of names) t.notOk(readFileSync(join(directory, name)).includes(value), `no value in ${name}`)
})

t.test('a month leaves the database and comes back: S3', t => testLife(t as Tap, 's3://rows/a/b'))

t.test('a place that goes away, and files changed by hand, lose nothing', async t => {
  const before = await all()
  const target = 's3://rows/c'
  const place = await archivist.openPlace(target)
  t.teardown(() => place.close())
  s3.behave('deny')
  await t.rejects(archiveMonth(archivist, place, { month: '2025-11', target }), { code: 'archive_unavailable' })
  s3.behave('well')
  t.same(await all(), before)

  const directory = temporaryDirectory(t)
  const url = pathToFileURL(directory).href
  const files = await archivist.openPlace(url)
  const { files: written, month, part } = await archiveMonth(archivist, files, { month: '2025-11', target: url })
  for (const name of [...written.map(file => file.name), `_manifests/month=${month}/part-${part}-1.note`]) {
    const path = join(directory, name)
    const bytes = readFileSync(path)
    const changed = Buffer.from(bytes)
    changed[bytes.length >> 1]! ^= 1
    writeFileSync(path, changed)
    await t.rejects(recallMonth(archivist, { month }), {
      code: 'archive_changed',
      message: new RegExp(name.slice(-20)),
    })
    writeFileSync(path, bytes)
  }
  const { rows } = await admin.query(
    `select count(*)::int as n from public.user_logins where create_date >= '2025-11-01'`,
  )
  t.equal(rows[0].n, 0, 'nothing was brought back')

  const [found] = (await archivist.store.readParts()).filter(each => each.month === month && each.state === 'archived')
  const user = 'u7'
  const removed = await eraseFromArchive(archivist, found!, (_, row) => (row['user_id'] === user ? 'remove' : 'keep'))
  t.ok(removed >= 3, `${removed} rows of a person are removed`)
  const left = readdirSync(directory, { recursive: true, encoding: 'utf8' }).filter(name =>
    /\.(parquet|note)$/.test(name),
  )
  t.ok(
    left.length === 3 && left.every(name => /-2\.(parquet|note)$/.test(name)),
    'the files of the earlier revision are gone',
  )
  await recallMonth(archivist, { month })
  const expected = before.map(table =>
    table.filter(row => JSON.parse(row).user_id !== user || JSON.parse(row).create_date < '2025-11'),
  )
  t.same(await all(), expected, 'all others came back')
})

t.test('rows that are written while a month is copied are archived with it', async t => {
  const target = pathToFileURL(temporaryDirectory(t)).href
  const place = await archivist.openPlace(target)
  let reads = 0
  const onProgress = () => {
    if (reads++ === 0)
      void admin.query(
        `insert into public.user_logins values ('meanwhile', null, null, null, null, null, '2025-11-05')`,
      )
  }
  const { files } = await archiveMonth({ ...archivist, onProgress }, place, { month: '2025-11', target })
  const { rows } = await admin.query(
    `select count(*)::int as n from public.user_logins where create_date >= '2025-11-01'`,
  )
  t.equal(rows[0].n, 0)
  await recallMonth(archivist, { month: '2025-11' })
  t.ok(
    (await rowsOf('public.user_logins')).some(row => row.includes('meanwhile')),
    `${files[0]!.rows} rows`,
  )
})

t.test('DuckDB reads an export with the line of docs/warehouses.md', async t => {
  const directory = temporaryDirectory(t)
  const target = pathToFileURL(directory).href
  await exportMonths(archivist, { months: ['2025-10', '2025-11'], target })
  const page = readFileSync(join(import.meta.dirname, '../../docs/warehouses.md'), 'utf8')
  const line = /^\| DuckDB \| `(.*)` \|$/m.exec(page)![1]!.replace('/directory', directory)
  const instance = await DuckDBInstance.create()
  const connection = await instance.connect()
  const read = await connection.runAndReadAll(`${line} ORDER BY month`)
  const months = read.getRowsJson().map(([month, count]) => [month, Number(count)])
  const { rows } = await admin.query(
    `select to_char(create_date, 'YYYY-MM') as month, count(*)::int as n from public.user_logins group by 1 order by 1`,
  )
  t.same(
    months,
    rows.map(({ month, n }) => [month, n]),
  )
  const typed = await connection.runAndReadAll(
    `SELECT typeof(create_date), typeof(app_version), min(create_date)::varchar FROM read_parquet('${directory}/user_logins/*/*.parquet', hive_partitioning = true) GROUP BY ALL`,
  )
  t.same(typed.getRowsJson(), [['DATE', 'INTEGER', '2025-10-31']])
  connection.closeSync()
  instance.closeSync()
})

t.test('tokens that were replaced while their rows were away come back as their successors', async t => {
  const target = pathToFileURL(temporaryDirectory(t)).href
  const place = await archivist.openPlace(target)
  const moved = `insert into pii_vault.token_moves (field, token_key_version, to_version) values ('ip', 1, 2)`
  const { rows: before } = await admin.query(
    `select count(*)::int as n from public.user_logins where create_date >= '2025-11-01' and masked_ip = $1`,
    [token],
  )
  await admin.query(`update analyst.login_details set masked_ip = $1 where user_id = 'u1'`, [token])
  await archiveMonth(archivist, place, { month: '2025-11', target })
  await admin.query(moved)
  await t.rejects(archiveMonth(archivist, place, { month: '2025-10', target }), { code: 'archive_tokens_moving' })
  await t.rejects(recallMonth(archivist, { month: '2025-11' }), { code: 'archive_tokens_moving' })
  await admin.query(`update pii_vault.token_moves set state = 'done', done_at = now()`)
  const successor = token.replace('_v1_', '_v2_')
  await admin.query(
    `insert into pii_vault.token_aliases (token_id, field, token_key_version, old_token, new_token, successor, proof)
     values (gen_random_uuid(), 'ip', 1, $1, $2, gen_random_uuid(), '\\x00')`,
    [token, successor],
  )
  const { tokens } = await recallMonth(archivist, { month: '2025-11' })
  t.same(tokens, { translated: before[0].n + 1, left: 0 })
  const { rows } = await admin.query(
    `select masked_ip, count(*)::int as n from public.user_logins where masked_ip is not null and create_date >= '2025-11-01' group by 1`,
  )
  t.same(rows, [{ masked_ip: successor, n: before[0].n }], 'no row has the token of before')
  await admin.query(`delete from pii_vault.token_aliases`)
  await archiveMonth(archivist, place, { month: '2025-11', target })
  await admin.query(`update pii_vault.token_moves set token_key_version = 2, to_version = 3, retired_at = now()`)
  const later = await recallMonth(archivist, { month: '2025-11' })
  t.same(later.tokens, { translated: 0, left: before[0].n + 1 }, 'with no alias they stay, and are counted')
  await admin.query(`delete from pii_vault.token_moves`)
})

t.test('a second job is refused, and goes on once the first has ended', async t => {
  const { holding } = archivist.store
  await holding(() =>
    t.rejects(
      holding(async () => {}),
      { code: 'archive_running' },
    ),
  )
  t.equal(await holding(async () => 'done'), 'done')
})

t.test('tokens in columns of type inet and uuid are known and come back as their successors', async t => {
  await admin.query(`
    set role tokenvault_owner;
    insert into pii_vault.fields (name, rule, format, inet_prefix) values ('net', 'text', 'inet', 'fd00::/16'), ('dev', 'text', 'uuid', null);
    alter table public.user_logins add masked_net inet, add masked_dev uuid;
    insert into public.user_logins (user_id, create_date, masked_net, masked_dev) values
      ('typed', '2025-09-01', 'fd00::1', '00000000-0000-8000-8000-000000000001');
    reset role`)
  const target = pathToFileURL(temporaryDirectory(t)).href
  const place = await archivist.openPlace(target)
  await archiveMonth(archivist, place, { month: '2025-09', target })
  t.equal(await archivedTokens(), 2)
  await admin.query(`
    insert into pii_vault.token_aliases (token_id, field, token_key_version, old_token, new_token, successor, proof) values
      (gen_random_uuid(), 'net', 1, 'fd00::1', 'fd00::2', gen_random_uuid(), '\\x00'),
      (gen_random_uuid(), 'dev', 1, '00000000-0000-8000-8000-000000000001', '00000000-0000-8000-8000-000000000002', gen_random_uuid(), '\\x00')`)
  t.same((await recallMonth(archivist, { month: '2025-09' })).tokens, { translated: 2, left: 0 })
  const { rows } = await admin.query(
    `select host(masked_net) as net, masked_dev as dev from public.user_logins where user_id = 'typed'`,
  )
  t.same(rows, [{ net: 'fd00::2', dev: '00000000-0000-8000-8000-000000000002' }])
})
