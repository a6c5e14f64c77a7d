import { join } from 'node:path'
import t, { type Test } from 'tap'
import { readFieldsFile } from '../../src/compose/fields.ts'
import { prepareDatabase } from '../../src/compose/prepare-database.ts'
import { composeWorker } from '../../src/compose/worker.ts'
import { loadConfig } from '../../src/config/load.ts'
import { createLedger } from '../../src/store/ledger.ts'
import { reconcile } from '../../src/vault/ledger/reconcile.ts'
import { createVaultDatabase, readClusterLog } from '../helpers/postgres/vault-database.ts'
import { loginEvent } from '../helpers/queue/events.ts'
import { startQueue } from '../helpers/queue/server.ts'

const fields = `version: 1
fields:
  - { name: ip, rule: ip.v1, column: masked_ip }
  - { name: device_id, rule: device_id.v1, column: masked_device_id, required: false }
`
const files = {
  plain: fields,
  one: `${fields}clear:\n  - { property: app_version, column: app_version_full, type: varchar(8) }\n`,
  two: `${fields}clear:
  - { property: app_version, column: app_version_full, type: varchar(8) }
  - { property: battery, column: battery_level, type: integer }
`,
  other: `${fields}clear:\n  - { property: battery, column: app_version_full, type: integer }\n`,
  strict: `${fields.replace(', required: false', '')}clear:\n  - { property: app_version, column: app_version_full, type: varchar(8) }\n`,
}

async function startWorld(t: Test) {
  const vault = await createVaultDatabase(t)
  const { queue, queueUrl, server, log, logged } = await startQueue(t)
  const folder = t.testdir(files)
  const environmentOf = (file: keyof typeof files) => ({
    KEK_FILE: vault.kekFile,
    FIELDS_FILE: join(folder, file),
    SQS_QUEUE_URL: queueUrl,
    AWS_ENDPOINT_URL_SQS: `http://127.0.0.1:${server.port}`,
  })
  const migrate = (file: keyof typeof files) =>
    prepareDatabase(loadConfig('migrate', { ...environmentOf(file), DATABASE_URL: vault.adminUrl }), {
      environment: {},
    })
  const compose = async (file: keyof typeof files) => {
    const config = loadConfig('worker', { ...environmentOf(file), DATABASE_URL: vault.urlFor('tokenvault_worker') })
    const worker = await composeWorker(config, { log, environment: {} })
    t.teardown(() => worker.close())
    return worker
  }
  const send = (events: readonly object[]) => queue.send(events.map(event => JSON.stringify(event)))
  const ledger = () =>
    reconcile(createLedger(vault.database('tokenvault_auditor')), readFieldsFile(environmentOf('one')).fields)
  return { vault, migrate, compose, send, ledger, logged, admin: await vault.connect() }
}

const drain = { drain: true, signal: new AbortController().signal }
const seven = 'user_id, device_type, masked_ip, masked_device_id, locale, app_version, create_date'

t.test('logins stand in login_details with what was configured, once, as in user_logins', async t => {
  const { vault, migrate, compose, send, ledger, logged, admin } = await startWorld(t)
  await migrate('plain')
  await send([loginEvent(1)])
  await (await compose('plain')).run(drain)
  t.same((await admin.query('SELECT FROM analyst.login_details')).rowCount, 0, 'nothing where nothing is configured')

  await t.rejects(compose('one'), {
    code: 'config_invalid',
    message:
      'column app_version_full of analyst.login_details is missing; run `tokenvault migrate` with the same FIELDS_FILE',
  })
  t.same((await migrate('one')).detailColumns, ['app_version_full'])
  t.same((await migrate('one')).detailColumns, [], 'which is done once')
  const worker = await compose('strict')
  const versions = ['2.3.0', 7, '10.11.12.13', null, ['canary-array'], 'a\u0000b', '9.9"\\,}']
  await send([
    ...versions.map((app_version, n) => loginEvent(10 + n, { app_version })),
    loginEvent(20, { device_id: null }),
    loginEvent(21, { ip: '198.51.100.77' }),
    loginEvent(21, { ip: '198.51.100.77' }),
  ])
  t.match(await worker.run(drain), { stored: 9, quarantined: 1 })
  const api = await vault.connect('tokenvault_api')
  await api.query('SELECT pii_vault.request_redrive(array_agg(id)) FROM pii_vault.quarantine')
  await (await compose('one')).run(drain)

  const analyst = await vault.connect('tokenvault_analyst')
  const { rows } = await analyst.query('SELECT * FROM analyst.login_details ORDER BY user_id')
  t.equal(rows.length, 10)
  t.equal(new Set(rows.map(({ login_id }) => login_id)).size, 10)
  for (const { login_id } of rows)
    t.match(login_id, /^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
  t.same(
    rows.slice(0, 7).map(({ app_version_full }) => app_version_full),
    ['2.3.0', '7', null, null, null, null, '9.9"\\,}'],
  )
  const differing = `SELECT ${seven} FROM user_logins WHERE user_id <> 'user-1'`
  const copies = `SELECT ${seven} FROM analyst.login_details`
  const { rowCount } = await analyst.query(
    `(${differing} EXCEPT ALL ${copies}) UNION ALL (${copies} EXCEPT ALL ${differing})`,
  )
  t.equal(rowCount, 0, 'the same rows, each as often')
  t.match(await ledger(), {
    isConsistent: true,
    days: [{ rows: { recorded: 11 }, details: { recorded: 10, stored: 10 } }],
  })

  // What is missing, here or there, is found.
  await admin.query('DELETE FROM ingest.receipts')
  await admin.query('DELETE FROM analyst.login_details WHERE user_id = $1', ['user-10'])
  t.match(await ledger(), { isConsistent: false, days: [{ details: { recorded: 0, stored: 9 } }] })

  for (const statement of ['SELECT FROM analyst.login_details', 'DELETE FROM analyst.login_details'])
    await t.rejects((await vault.connect('tokenvault_worker')).query(statement), { code: '42501' })
  await t.rejects(analyst.query('DELETE FROM analyst.login_details'), { code: '42501' })
  const everything = JSON.stringify([rows, logged]) + readClusterLog()
  for (const canary of ['198.51.100.77', 'canary-array', '593-47-21'])
    t.notOk(everything.includes(canary), 'nothing that is tokenized, and nothing that does not fit, is anywhere')
})

t.test('columns are added as configured, never changed and never dropped', async t => {
  const { vault, migrate, compose, admin } = await startWorld(t)
  await migrate('one')
  t.same((await migrate('two')).detailColumns, ['battery_level'])
  const wrongType = {
    code: 'config_invalid',
    message:
      "column app_version_full of analyst.login_details is of type character varying(8), not integer; name another column, or as the table's owner: ALTER TABLE analyst.login_details ALTER COLUMN app_version_full TYPE integer",
  }
  await t.rejects(migrate('other'), wrongType)
  await t.rejects(compose('other'), wrongType)
  t.same((await migrate('plain')).detailColumns, [])
  const { rows } = await admin.query(
    `SELECT attname, col_description(attrelid, attnum) AS comment FROM pg_attribute
     WHERE attrelid = 'analyst.login_details'::regclass AND attnum > 8 ORDER BY attnum`,
  )
  t.match(rows, [
    { attname: 'app_version_full', comment: /^Property app_version of the event, in clear; null where/ },
    { attname: 'battery_level', comment: /^Property battery of the event/ },
  ])
  await Promise.all([1, 2, 3].map(() => migrate('two')))
  // A partition that is made later has them, too.
  await (await vault.connect('tokenvault_worker')).query('SELECT ingest.ensure_partitions(ARRAY[current_date])')
  await (await compose('two')).close()
  t.ok(
    (await admin.query("SELECT FROM pg_inherits WHERE inhparent = 'analyst.login_details'::regclass")).rowCount! >= 3,
  )
})

t.test('the file of fields that ships can be used as it is', async t => {
  const { fields: schema, clear } = readFieldsFile({
    FIELDS_FILE: join(import.meta.dirname, '../../deploy/fields.yaml'),
  })
  t.same([...schema.keys()], ['ip', 'device_id', 'network'])
  t.match(clear, [{ property: 'app_version', column: 'app_version_full', type: 'character varying(32)' }])
})
