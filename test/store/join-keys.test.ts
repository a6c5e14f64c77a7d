import t from 'tap'
import { createVaultDatabase } from '../helpers/postgres/vault-database.ts'

/** A generator whose numbers follow from its seed alone (mulberry32). */
function randomFrom(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/** Groups as sets of rows: which key stands for them may change, which rows stand together may not. */
const groupsBy = (key: 'ip_key' | 'device_key') => `
  SELECT array_agg(user_id ORDER BY user_id) AS members FROM analyst.logins
  WHERE user_id < 'n' AND ${key} IS NOT NULL GROUP BY ${key} ORDER BY members`
const duplicates = (view: string) =>
  `SELECT logins::int, users::int, first_day::text, last_day::text FROM ${view} ORDER BY 1, 2, 3, 4`
const pairs = `
  SELECT a.user_id AS one, b.user_id AS other FROM analyst.logins a JOIN analyst.logins b ON a.ip_key = b.ip_key
  WHERE a.user_id < b.user_id AND b.user_id < 'n' ORDER BY 1, 2`

t.test('join keys group the same rows at every step of a rotation, while rows are added', async t => {
  const seed = Number(process.env['ROTATION_SEED'] ?? 20260731)
  const random = randomFrom(seed)
  const vault = await createVaultDatabase(t)
  const admin = await vault.connect()
  const analyst = await vault.connect('tokenvault_analyst')
  await admin.query(`
    INSERT INTO user_logins (user_id, masked_ip, masked_device_id, create_date)
    SELECT 'm' || lpad(n::text, 5, '0'), 'ip_v1_' || n * 7 % 900, CASE WHEN n % 11 > 0 THEN 'device_id_v1_' || n * 13 % 700 END,
      date '2026-01-01' + n % 40
    FROM generate_series(1, 2000) AS n`)
  const questions = [groupsBy('ip_key'), groupsBy('device_key'), pairs]
  const answer = async (texts: readonly string[]) => {
    // One snapshot for each question, as any analyst has.
    const found: unknown[] = []
    for (const text of texts) found.push((await analyst.query(text)).rows)
    return found
  }
  const before = await answer(questions)
  const counts = await answer(['duplicate_ips', 'duplicate_devices'].map(duplicates))

  const addAlias = (value: number) =>
    admin.query(
      `INSERT INTO pii_vault.token_aliases (token_id, field, token_key_version, old_token, new_token, successor, proof)
       VALUES (md5('old' || $1::text)::uuid, 'ip', 1, 'ip_v1_' || $1::text, 'ip_v2_' || $1::text, md5('new' || $1::text)::uuid, '')
       ON CONFLICT DO NOTHING`,
      [value],
    )
  await admin.query(`INSERT INTO pii_vault.token_moves (field, token_key_version, to_version) VALUES ('ip', 1, 2)`)
  t.strictSame(await answer(questions), before, 'the move has begun')
  let added = 0
  for (let step = 0; step < 60; step++) {
    const value = Math.floor(random() * 900)
    const choice = random()
    if (choice < 0.4) {
      // Ingest under the new key: row and alias in one transaction.
      await admin.query('BEGIN')
      await addAlias(value)
      await admin.query(
        `INSERT INTO user_logins (user_id, masked_ip, create_date) VALUES ('n', 'ip_v2_' || $1::text, '2026-03-01')`,
        [value],
      )
      await admin.query('COMMIT')
      added++
    } else if (choice < 0.7) await addAlias(value)
    else
      await admin.query(
        `UPDATE user_logins SET masked_ip = alias.new_token FROM pii_vault.token_aliases AS alias
        WHERE alias.old_token = masked_ip AND user_id > 'm' || lpad($1::text, 5, '0')`,
        [value * 2],
      )
    t.strictSame(await answer(questions), before, `step ${step}, seed ${seed}`)
  }
  t.ok(added > 5, `${added} rows were added`)
  await admin.query(`DELETE FROM user_logins WHERE user_id = 'n'`)
  t.strictSame(
    await answer(['duplicate_ips', 'duplicate_devices'].map(duplicates)),
    counts,
    'and so do the views of duplicates',
  )
  for (let value = 0; value < 900; value++) await addAlias(value)
  await admin.query(
    `UPDATE user_logins SET masked_ip = alias.new_token FROM pii_vault.token_aliases AS alias WHERE alias.old_token = masked_ip`,
  )
  await admin.query(`UPDATE pii_vault.token_moves SET state = 'done', done_at = now()`)
  t.strictSame(await answer(questions), before, 'the move is done')
  t.strictSame(await answer(['duplicate_ips', 'duplicate_devices'].map(duplicates)), counts)
})

t.test('without a move aliases are not looked at, and an equality uses the index of user_logins', async t => {
  const vault = await createVaultDatabase(t)
  const admin = await vault.connect()
  await admin.query(`
    INSERT INTO user_logins (user_id, masked_ip, masked_device_id, create_date)
    SELECT 'u', 'ip_v1_' || n, 'device_id_v1_' || n, '2026-01-01' FROM generate_series(1, 20000) AS n`)
  await admin.query('ANALYZE user_logins')
  const explain = async (text: string) => {
    const { rows } = await admin.query<{ 'QUERY PLAN': string }>(
      `EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF, BUFFERS OFF) ${text}`,
    )
    return rows.map(row => row['QUERY PLAN']).join('\n')
  }
  const plan = await explain(`SELECT * FROM analyst.logins WHERE ip_key = 'ip_v1_77'`)
  t.match(plan, /One-Time Filter/)
  t.match(plan, /(Index|Bitmap Index) Scan .*masked_ip/)
  t.match(plan, /token_aliases[^\n]*\(never executed\)/)
  const grouped = await explain(
    'SELECT device_key, count(*) FROM analyst.logins GROUP BY device_key HAVING count(*) > 1',
  )
  t.match(grouped, /token_aliases[^\n]*\(never executed\)/)
})
