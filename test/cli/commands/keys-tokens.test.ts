import { chmodSync, mkdirSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { asyncBufferFromFile, parquetReadObjects } from 'hyparquet'
import t from 'tap'
import { runInProcess } from '../../helpers/cli/cli-in-process.ts'
import { createVaultDatabase } from '../../helpers/postgres/vault-database.ts'

const pairs = 60_001

t.test('a token map is written whole, and a token key is retired once its move is done', async t => {
  const vault = await createVaultDatabase(t)
  const admin = await vault.connect()
  const environment = { DATABASE_URL: vault.adminUrl, KEK_FILE: vault.kekFile }
  const run = (...args: string[]) => runInProcess(['keys', ...args], environment)
  const directory = t.testdir({})
  const csv = join(directory, 'map.csv')

  t.match(await run('token-map', '--field', 'ip', '--out', csv), { code: 1, stderr: /key_unknown: / })
  t.match(await run('retire', 'token/ip/v1'), { code: 1, stderr: /key_state_invalid: .*never moved/ })
  await admin.query(`INSERT INTO pii_vault.token_moves (field, token_key_version, to_version) VALUES ('ip', 1, 2)`)
  await admin.query(
    `INSERT INTO pii_vault.token_aliases (token_id, field, token_key_version, old_token, new_token, successor, proof)
     SELECT md5(n::text)::uuid, 'ip', 1, 'ip_v1_' || n, 'ip_v2_' || n, gen_random_uuid(), '' FROM generate_series(1, $1::int) AS n`,
    [pairs],
  )
  await admin.query(
    `INSERT INTO pii_vault.token_aliases (token_id, field, token_key_version, old_token, new_token, successor, proof)
     VALUES (gen_random_uuid(), 'device_id', 1, 'device_id_v1_x', 'device_id_v2_x', gen_random_uuid(), '')`,
  )
  t.match(await run('retire', 'token/ip/v1'), { code: 1, stderr: /key_state_invalid: .*still being moved/ })
  const early = await run('token-map', '--field', 'ip', '--out', csv, '--json')
  t.same(JSON.parse(early.stdout), { pairs, isWhole: false })
  await admin.query(`UPDATE pii_vault.token_moves SET state = 'done', done_at = now()`)

  const written = await run('token-map', '--field', 'ip', '--out', csv)
  t.match(written, { code: 0, stdout: `${pairs} pairs of tokens in ${csv}\n` })
  const lines = readFileSync(csv, 'utf8').split('\n')
  t.equal(lines[0], 'old_token,new_token')
  t.equal(lines.length, pairs + 2)
  t.ok(lines.slice(1, -1).every(line => /^ip_v1_(\d+),ip_v2_\1$/.test(line)))
  t.equal(statSync(csv).mode & 0o777, 0o600)
  const parquet = join(directory, 'map.parquet')
  t.match(await run('token-map', '--field', 'ip', '--out', parquet), { code: 0 })
  const rows = await parquetReadObjects({ file: await asyncBufferFromFile(parquet) })
  t.equal(rows.length, pairs)
  t.ok(rows.every(row => Object.keys(row).join() === 'old_token,new_token'))
  t.same(new Set(rows.map(row => `${row['old_token']},${row['new_token']}`)), new Set(lines.slice(1, -1)))

  await t.test('nothing is left of a map that cannot be written', async t => {
    const [event] = (await admin.query('SELECT max(sequence) AS last FROM pii_vault.audit_log')).rows
    const other = join(directory, 'other')
    mkdirSync(other)
    t.match(await run('token-map', '--field', 'ip', '--out', join(other, 'map.txt')), {
      code: 2,
      stderr: /\.csv or \.parquet/,
    })
    t.match(await run('token-map', '--field', 'ip', '--out', join(other, 'none', 'map.csv')), {
      code: 2,
      stderr: /ENOENT/,
    })
    await admin.query(
      `UPDATE pii_vault.token_aliases SET new_token = E'ip_v2_1\\n=cmd' WHERE old_token = 'ip_v1_60001'`,
    )
    t.match(await run('token-map', '--field', 'ip', '--out', join(other, 'map.csv')), {
      code: 1,
      stderr: /token_malformed/,
    })
    await admin.query(`UPDATE pii_vault.token_aliases SET new_token = 'ip_v2_60001' WHERE old_token = 'ip_v1_60001'`)
    t.same(readdirSync(other), [])
    const [after] = (await admin.query('SELECT max(sequence) AS last FROM pii_vault.audit_log')).rows
    t.same(after, event, 'and no event says that it was')
    chmodSync(other, 0o700)
  })

  t.match(await run('retire', 'token/ip/v1', '--dry-run'), {
    code: 0,
    stdout: `${pairs} tokens of token/ip/v1 would not open any more\n`,
  })
  t.match(await run('retire', 'data/ip/v1'), { code: 2, stderr: /only token keys/ })
  const retired = await run('retire', 'token/ip/v1', '--batch', '7000', '--json')
  t.same(JSON.parse(retired.stdout), { key: 'token/ip/v1', aliases: pairs, isWhole: true })
  t.match(await run('retire', 'token/ip/v1', '--json'), { code: 0, stdout: /"aliases":0/ }, 'again changes nothing')
  const left = await admin.query('SELECT field FROM pii_vault.token_aliases')
  t.same(left.rows, [{ field: 'device_id' }])
  const events = await admin.query(
    `SELECT type, granted, tokens FROM pii_vault.audit_events WHERE type IN ('key_token_map', 'key_retire') ORDER BY sequence`,
  )
  t.same(
    events.rows.map(({ type, granted }) => [type, granted]),
    [
      ['key_token_map', pairs],
      ['key_token_map', pairs],
      ['key_token_map', pairs],
      ['key_retire', pairs],
      ['key_retire', 0],
    ],
  )
})
