import { appendFileSync, existsSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { sql } from 'kysely'
import t, { type Test } from 'tap'
import { startPostgres } from '../../../src/embedded/postgres.ts'
import { createTokenizeMessages } from '../../../src/ingest/batch/tokenize-messages.ts'
import { createFieldRecordWriter } from '../../../src/store/fields.ts'
import { createIngestStore } from '../../../src/store/ingest.ts'
import { createLedger } from '../../../src/store/ledger.ts'
import { ensureDatabase } from '../../../src/store/setup/ensure-database.ts'
import { migrate } from '../../../src/store/setup/migrate.ts'
import { loginFields } from '../../../src/vault/fields/fields.ts'
import { describeField } from '../../../src/vault/fields/recorded-fields.ts'
import { reconcile } from '../../../src/vault/ledger/reconcile.ts'
import { runCommand } from '../../helpers/cli/cli.ts'
import { runInProcess } from '../../helpers/cli/cli-in-process.ts'
import { temporaryDirectory } from '../../helpers/embedded/embedded-directory.ts'
import { startEvidence } from '../../helpers/evidence/evidence.ts'
import { until } from '../../helpers/faults/plan.ts'
import { connectTo, createVaultDatabase, openDatabase } from '../../helpers/postgres/vault-database.ts'
import { loginEvent, poison, received } from '../../helpers/queue/events.ts'

const today = new Date()
const dayBefore = (days: number) => new Date(today.getTime() - days * 86_400_000).toISOString().slice(0, 10)

/** Two days of logins, with neighbours that are none, as the worker stores them. */
async function buildLedger(t: Test) {
  const vault = await createVaultDatabase(t)
  const store = createIngestStore(vault.database('tokenvault_worker'), loginFields)
  for (const [age, sentAtMs] of [today.getTime(), today.getTime() - 86_400_000].entries()) {
    const messages = Array.from({ length: 30 }, (_, n) =>
      // Some of the second day's addresses are those of the first.
      received(`message-${age}-${n}`, JSON.stringify([loginEvent(n + age * 20), loginEvent(1000 + n)]), { sentAtMs }),
    )
    const none = poison.slice(0, 3).map(({ body }, n) => received(`poison-${age}-${n}`, body, { sentAtMs }))
    await store.storeMessages(createTokenizeMessages(vault.tokenizer, vault.sealQuarantined)([...messages, ...none]))
  }
  const environment = { DATABASE_URL: vault.urlFor('tokenvault_auditor') }
  const ledger = createLedger(vault.database('tokenvault_auditor'))
  return { vault, environment, admin: await vault.connect(), judge: () => reconcile(ledger, loginFields) }
}

t.test('what the worker stored reconciles, and the auditor needs nothing but counts', async t => {
  const { environment } = await buildLedger(t)
  const { code, stdout, stderr } = await runCommand(t, ['reconcile', '--json'], environment)
  t.strictSame({ code, stderr }, { code: 0, stderr: '' })
  const counts = {
    isProvable: true,
    deliveryRecords: 33,
    rows: { recorded: 60, stored: 60 },
    quarantined: { recorded: 3, stored: 3 },
    verdict: 'equal',
  }
  t.strictSame(JSON.parse(stdout), {
    isConsistent: true,
    days: [
      { day: dayBefore(1), ...counts },
      { day: dayBefore(0), ...counts },
    ],
    unmatched: [],
    columns: [],
  })
  const forPeople = await runCommand(t, ['reconcile'], environment)
  t.equal(forPeople.code, 0)
  t.match(forPeople.stdout, new RegExp(`^${dayBefore(1)} +33 +60 +60 +3 +3 +equal$`, 'm'))
  t.match(forPeople.stdout, /\nconsistent\n$/)
})

t.test('a log that lost events of a checkpoint that was kept elsewhere is not consistent', async t => {
  const { startMaker, append, tamper, admin, directory, signer, urlFor } = await startEvidence(t)
  const key = ['--key', signer.verifierKey, '--checkpoint', directory]
  const run = (...args: string[]) =>
    runInProcess(['reconcile', ...args], { DATABASE_URL: urlFor('tokenvault_auditor') })
  const make = startMaker()
  await append(3)
  const { rows } = await admin.query('SELECT tree_size, frontier FROM pii_vault.audit_head')
  await append(2)
  await make()
  t.match(await run('--json', ...key), { code: 0, stdout: /"checkpoint":\{"treeSize":5,"isHeld":true\}/ })

  // A standby that had three of the five events took over.
  await tamper('DELETE FROM pii_vault.audit_log WHERE sequence >= 3; DELETE FROM pii_vault.checkpoints')
  await admin.query('UPDATE pii_vault.audit_head SET tree_size = $1, frontier = $2', [
    rows[0].tree_size,
    rows[0].frontier,
  ])
  t.match(await run(), { code: 0, stdout: /\nconsistent\n$/ }, 'the database knows of nothing')
  t.match(await run(...key), {
    code: 1,
    stdout: /\na checkpoint kept elsewhere is not held: the log has 3 events, and a checkpoint of 5\nNOT consistent\n$/,
  })
  await append(1)
  await append(3)
  t.match(await run('--json', ...key), {
    code: 1,
    stdout: /"isConsistent":false.*"detail":"the log of 7 events has not grown/,
  })
  t.match(await run('--checkpoint', directory), { code: 2 }, 'nobody believes a checkpoint without the key')
})

t.test('a server that was promoted is not said to have lost nothing', async t => {
  const dataDir = temporaryDirectory(t)
  const first = await startPostgres({ dataDir, port: 0, isDurable: false })
  const database = openDatabase(t, await ensureDatabase(first.adminUrl, 'vault'), 1)
  await migrate(database)
  await sql`insert into pii_vault.keys (purpose, field, version, status, kek_id, wrapped)
    select 'token', field, 1, 'primary', 'none', '' from unnest(${[...loginFields.keys()]}::text[]) as field`.execute(
    database,
  )
  await createFieldRecordWriter(database).recordFields([...loginFields.values()].map(describeField))
  await database.destroy()
  await first.stop()
  // Recovery that finds nothing to recover ends as a promotion does.
  const postgres = join(dataDir, readdirSync(dataDir).find(name => existsSync(join(dataDir, name, 'PG_VERSION')))!)
  writeFileSync(join(postgres, 'recovery.signal'), '')
  appendFileSync(join(postgres, 'postgresql.auto.conf'), "restore_command = 'false'\n")
  const second = await startPostgres({ dataDir, port: 0, isDurable: false })
  t.teardown(second.stop)
  const url = await ensureDatabase(second.adminUrl, 'vault')
  const admin = await connectTo(t, url)
  await until('recovery ends', async () => {
    return (await admin.query('SELECT pg_is_in_recovery() AS recovers')).rows[0].recovers === false
  })
  const run = (...args: string[]) => runInProcess(['reconcile', ...args], { DATABASE_URL: url })
  t.match(await run(), {
    code: 0,
    stderr: '',
    stdout: /\nconsistent in itself: the server was promoted or restored \(timeline 2\)/,
  })
  t.match(JSON.parse((await run('--json')).stdout), { isConsistent: true, timeline: 2 })
})

t.test('an empty vault is consistent', async t => {
  const vault = await createVaultDatabase(t)
  const { code, stdout } = await runCommand(t, ['reconcile'], { DATABASE_URL: vault.urlFor('tokenvault_auditor') })
  t.equal(code, 0)
  t.match(stdout, /^day .*\n-[- ]+\nconsistent\n$/)
})

const yesterday = `'${dayBefore(1)}'`

/** Each kind of damage, and what must be said of it. */
const damages: Record<string, { sql: string; days?: Record<string, object>; unmatched?: object[] }> = {
  'a row is gone': {
    sql: `DELETE FROM public.user_logins WHERE (tableoid, ctid) = (SELECT tableoid, ctid FROM public.user_logins
      WHERE create_date = ${yesterday} AND user_id = 'user-1005')`,
    days: { [dayBefore(1)]: { rows: { recorded: 60, stored: 59 } } },
  },
  'a row is there twice': {
    sql: `INSERT INTO public.user_logins SELECT * FROM public.user_logins WHERE create_date = current_date LIMIT 1`,
    days: { [dayBefore(0)]: { rows: { recorded: 60, stored: 61 } } },
  },
  'a row moved to another day': {
    sql: `UPDATE public.user_logins SET create_date = ${yesterday} WHERE create_date = current_date AND user_id = 'user-1005'`,
    days: {
      [dayBefore(1)]: { rows: { recorded: 60, stored: 61 } },
      [dayBefore(0)]: { rows: { recorded: 60, stored: 59 } },
    },
  },
  'a row has no day': {
    sql: `UPDATE public.user_logins SET create_date = NULL WHERE create_date = current_date AND user_id = 'user-1005'`,
    days: { null: { deliveryRecords: 0, rows: { stored: 1 } }, [dayBefore(0)]: { rows: { stored: 59 } } },
  },
  'a delivery record is gone': {
    sql: `DELETE FROM ingest.receipts WHERE message_id = 'message-0-7'`,
    days: { [dayBefore(0)]: { deliveryRecords: 32, rows: { recorded: 58, stored: 60 } } },
  },
  'a delivery record counts too much': {
    sql: `UPDATE ingest.receipts SET rows_stored = 3 WHERE message_id = 'message-1-7'`,
    days: { [dayBefore(1)]: { rows: { recorded: 61, stored: 60 } } },
  },
  'a quarantined event is gone': {
    sql: `DELETE FROM pii_vault.quarantine WHERE message_id = 'poison-1-0'`,
    days: { [dayBefore(1)]: { quarantined: { recorded: 3, stored: 2 } } },
  },
  'rows of a day without a delivery record': {
    sql: `INSERT INTO public.user_logins SELECT user_id, device_type, masked_ip, masked_device_id, locale, app_version,
      current_date - 12 FROM public.user_logins LIMIT 2`,
    days: { [dayBefore(12)]: { deliveryRecords: 0, rows: { recorded: 0, stored: 2 } } },
  },
  'an original is gone': {
    // Of user-5, who logged in on the first day only.
    sql: `DELETE FROM pii_vault.originals WHERE field = 'ip' AND token_id = (SELECT encode(substr(decode(translate(
      substr(masked_ip, 7), '-_', '+/') || '==', 'base64'), 1, 16), 'hex')::uuid FROM public.user_logins WHERE user_id = 'user-5')`,
    unmatched: [{ finding: 'token_without_original', field: 'ip', day: dayBefore(0), count: 1 }],
  },
  'an original says another field': {
    sql: `UPDATE pii_vault.originals SET field = 'ip' WHERE token_id = (SELECT encode(substr(decode(translate(
      substr(masked_device_id, 14), '-_', '+/') || '==', 'base64'), 1, 16), 'hex')::uuid FROM public.user_logins WHERE user_id = 'user-5')`,
    unmatched: [
      { finding: 'token_without_original', field: 'device_id', day: dayBefore(0), count: 1 },
      { finding: 'original_without_token', field: 'ip', day: dayBefore(0), count: 1 },
    ],
  },
  'an original is orphaned': {
    sql: `INSERT INTO pii_vault.originals VALUES (gen_random_uuid(), 'device_id', 1, 1, '\\x00')`,
    unmatched: [{ finding: 'original_without_token', field: 'device_id', day: dayBefore(0), count: 1 }],
  },
  'a token is no token': {
    sql: `UPDATE public.user_logins SET masked_ip = '203.0.113.7' WHERE (tableoid, ctid) = (SELECT tableoid, ctid
      FROM public.user_logins WHERE user_id = 'user-1003' AND create_date = current_date)`,
    unmatched: [{ finding: 'token_without_original', field: 'ip', day: dayBefore(0), count: 1 }],
  },
  'a token was cut short': {
    sql: `UPDATE public.user_logins SET masked_ip = left(masked_ip, 27) WHERE user_id = 'user-1003' AND create_date = ${yesterday}`,
    unmatched: [{ finding: 'token_without_original', field: 'ip', day: dayBefore(1), count: 1 }],
  },
  'a token was prolonged': {
    sql: `UPDATE public.user_logins SET masked_ip = masked_ip || 'A' WHERE user_id = 'user-1003' AND create_date = ${yesterday}`,
    unmatched: [{ finding: 'token_without_original', field: 'ip', day: dayBefore(1), count: 1 }],
  },
  'a token stands in the column of another field': {
    sql: `UPDATE public.user_logins SET masked_ip = masked_device_id
      WHERE user_id = 'user-1003' AND create_date = ${yesterday}`,
    unmatched: [{ finding: 'token_without_original', field: 'ip', day: dayBefore(1), count: 1 }],
  },
}

t.test('damage is found, counted and dated, each kind of it', async t => {
  const { admin, environment, judge } = await buildLedger(t)
  for (const [name, { sql, days = {}, unmatched = [] }] of Object.entries(damages)) {
    await t.test(name, async t => {
      await admin.query(`CREATE SCHEMA saved; CREATE TABLE saved.l AS TABLE public.user_logins; CREATE TABLE saved.r AS TABLE ingest.receipts;
        CREATE TABLE saved.o AS TABLE pii_vault.originals; CREATE TABLE saved.q AS TABLE pii_vault.quarantine`)
      const { rowCount } = await admin.query(sql)
      t.ok(rowCount! > 0, 'planted')
      const result = await judge()
      t.equal(result.isConsistent, false)
      const different = result.days.filter(({ verdict }) => verdict === 'different')
      t.match(Object.fromEntries(different.map(day => [String(day.day), day])), days)
      t.equal(different.length, Object.keys(days).length)
      t.strictSame(result.unmatched, unmatched)
      await admin.query(`TRUNCATE public.user_logins, ingest.receipts, pii_vault.originals, pii_vault.quarantine;
        INSERT INTO public.user_logins TABLE saved.l; INSERT INTO ingest.receipts TABLE saved.r;
        INSERT INTO pii_vault.originals TABLE saved.o; INSERT INTO pii_vault.quarantine TABLE saved.q; DROP SCHEMA saved CASCADE`)
    })
  }
  t.equal((await judge()).isConsistent, true, 'undone')

  await admin.query(`${damages['a row is gone']!.sql}; ${damages['an original is gone']!.sql}`)
  const { code, stdout } = await runCommand(t, ['reconcile'], environment)
  t.equal(code, 1)
  t.match(stdout, new RegExp(`^${dayBefore(1)} +33 +60 +59 +3 +3 +different$`, 'm'))
  t.match(stdout, `\n${dayBefore(0)}  1 ip: token without original\nNOT consistent\n`)
})

t.test('a day whose delivery records were dropped with age is said to be not provable, and is no failure', async t => {
  const { admin, judge } = await buildLedger(t)
  await admin.query(`INSERT INTO public.user_logins SELECT user_id, device_type, masked_ip, masked_device_id, locale,
    app_version, current_date - 31 FROM public.user_logins LIMIT 4`)
  const result = await judge()
  t.equal(result.isConsistent, true)
  t.match(result.days[0], {
    day: dayBefore(31),
    verdict: 'not_provable',
    deliveryRecords: 0,
    rows: { recorded: 0, stored: 4 },
  })
})

t.test('what was redriven or discarded from quarantine still reconciles', async t => {
  const { admin, judge } = await buildLedger(t)
  const { rows } = await admin.query('SELECT id FROM pii_vault.quarantine ORDER BY id LIMIT 2')
  const ids = rows.map(row => row.id)
  await admin.query('SELECT pii_vault.discard_quarantined($1)', [[ids[0]]])
  await admin.query('SELECT pii_vault.request_redrive($1)', [[ids[1]]])
  // As a worker does that finds two events and two rejects in the entry.
  await admin.query(`INSERT INTO public.user_logins SELECT user_id, device_type, masked_ip, masked_device_id, locale, app_version,
    (SELECT sent_on FROM pii_vault.quarantine WHERE id = '${ids[1]}') FROM public.user_logins LIMIT 2`)
  await admin.query(`INSERT INTO pii_vault.quarantine (id, message_id, event_index, reason, data_key_version, sealed, sent_on)
    SELECT gen_random_uuid(), message_id, n, reason, 1, sealed, sent_on FROM pii_vault.quarantine, (VALUES (1), (2)) AS t (n) WHERE id = '${ids[1]}'`)
  await admin.query('SELECT pii_vault.settle_redrives($1, $2, $3, $4, $5)', [[ids[1]], [null], [2], [0], [1]])
  t.match(await judge(), { isConsistent: true })
})

t.test('a role that is not the auditor is refused, and the message holds no row', async t => {
  const { vault } = await buildLedger(t)
  const { code, stdout, stderr } = await runCommand(t, ['reconcile'], {
    DATABASE_URL: vault.urlFor('tokenvault_analyst'),
  })
  t.strictSame({ code, stdout }, { code: 1, stdout: '' })
  t.match(
    stderr,
    /^tokenvault: store_misconfigured: a grant is missing, or an owner was changed; the database answered: SQLSTATE 42501/,
  )
})
