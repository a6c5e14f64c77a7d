import { join } from 'node:path'
import t from 'tap'
import { readFields } from '../../src/compose/fields.ts'
import { policyPlace, readPolicy } from '../../src/compose/policy.ts'
import { prepareDatabase } from '../../src/compose/prepare-database.ts'
import { openVault } from '../../src/compose/vault.ts'
import { composeWorker } from '../../src/compose/worker.ts'
import { loadConfig } from '../../src/config/load.ts'
import { createLedger } from '../../src/store/ledger.ts'
import { createOriginalReader } from '../../src/store/originals.ts'
import { createOpenAction } from '../../src/vault/admission/open-action.ts'
import { reconcile } from '../../src/vault/ledger/reconcile.ts'
import { createDetokenize } from '../../src/vault/tokens/detokenize.ts'
import { runCommand } from '../helpers/cli/cli.ts'
import { createVaultDatabase } from '../helpers/postgres/vault-database.ts'
import { loginEvent } from '../helpers/queue/events.ts'
import { startQueue } from '../helpers/queue/server.ts'
import { ListAudit } from '../helpers/vault/vault-world.ts'

const withEmail = `version: 1
fields:
  - { name: ip, rule: ip.v1, column: masked_ip }
  - { name: email, rule: email.v1, column: masked_email }
`

t.test('every process refuses a wrong schema by line and column, and quotes nothing of it', async t => {
  const folder = t.testdir({ fields: withEmail.replace('email.v1', 'hunter2') })
  const environment = {
    DATABASE_URL: 'postgres://nobody@127.0.0.1:1/nothing',
    KEK_FILE: '/nowhere',
    SQS_QUEUE_URL: 'http://127.0.0.1:1/q',
    JWT_ISSUER: 'https://issuer.test',
    JWT_AUDIENCE: 'tokenvault',
    JWKS_URL: 'https://issuer.test/jwks',
  }
  const runs = ['migrate', 'worker', 'api'].map(async command => {
    const wrong = await runCommand(t, [command], { ...environment, FIELDS_FILE: join(folder, 'fields') })
    t.equal(wrong.code, 2, command)
    t.match(wrong.stderr, /^tokenvault: config_invalid: FIELDS_FILE line 4, column 26: rule is not one of ip\.v1, /)
    t.notMatch(wrong.stderr, /hunter2/)
    const missing = await runCommand(t, [command], { ...environment, FIELDS_FILE: join(folder, 'gone') })
    t.equal(missing.code, 2)
    t.match(missing.stderr, /FIELDS_FILE cannot be read \(ENOENT\)/)
  })
  await Promise.all(runs)
})

t.test('what is not there is null and no duplicate, and the ledger is consistent', async t => {
  const vault = await createVaultDatabase(t)
  const { queue, queueUrl, server } = await startQueue(t)
  const text = `version: 1
fields:
  - { name: ip, rule: ip.v1, column: masked_ip, required: false }
  - { name: device_id, rule: device_id.v1, column: masked_device_id, placeholders: [test-device] }
`
  const FIELDS_FILE = join(t.testdir({ fields: text }), 'fields')
  const environment = {
    DATABASE_URL: vault.urlFor('tokenvault_worker'),
    KEK_FILE: vault.kekFile,
    FIELDS_FILE,
    SQS_QUEUE_URL: queueUrl,
    AWS_ENDPOINT_URL_SQS: `http://127.0.0.1:${server.port}`,
  }
  const changes = [{ ip: '0.0.0.0' }, { ip: '::' }, { ip: null }, { ip: '' }, { device_id: 'Test-Device' }, {}]
  const bodies = changes.map((change, n) => JSON.stringify(loginEvent(n, change)))
  await queue.send([...bodies, JSON.stringify(loginEvent(9, { device_id: '' }))])
  const ended = await runCommand(t, ['worker', '--drain'], environment)
  t.equal(ended.stdout, '7 received, 6 stored, 1 quarantined, 0 duplicates, 0 redriven, 3 placeholders\n', ended.stderr)
  t.match(ended.stderr, /"event":"placeholders","field":"ip","count":2/)
  t.notMatch(ended.stderr, /Test-Device/i)

  const analyst = await vault.connect('tokenvault_analyst')
  const { rows } = await analyst.query(
    `SELECT user_id, masked_ip IS NULL AS "noIp", masked_device_id IS NULL AS "noDevice" FROM user_logins ORDER BY user_id`,
  )
  t.same(
    rows.map(({ noIp, noDevice }) => [noIp, noDevice]),
    [[true, false], [true, false], [true, false], [true, false], [false, true], [false, false]], // biome-ignore format: a table
  )
  for (const view of ['duplicate_ips', 'duplicate_devices'])
    t.same((await analyst.query(`SELECT * FROM ${view}`)).rows, [], `null leads no line of ${view}`)
  const originals = await (await vault.connect()).query('SELECT field FROM pii_vault.originals ORDER BY field')
  t.same(
    originals.rows.map(({ field }) => field),
    [...Array(5).fill('device_id'), 'ip', 'ip'],
  )
  const fields = readFields({ FIELDS_FILE })
  const ledger = await reconcile(createLedger(vault.database('tokenvault_auditor')), fields)
  t.match(ledger, { isConsistent: true, days: [{ rows: { recorded: 6, stored: 6 } }], unmatched: [] })
})

t.test('a team tokenizes email tomorrow', async t => {
  const vault = await createVaultDatabase(t)
  const { queue, queueUrl, server, log } = await startQueue(t)
  const environment = {
    KEK_FILE: vault.kekFile,
    FIELDS_FILE: join(t.testdir({ fields: withEmail }), 'fields'),
    SQS_QUEUE_URL: queueUrl,
    AWS_ENDPOINT_URL_SQS: `http://127.0.0.1:${server.port}`,
  }
  const config = loadConfig('worker', { ...environment, DATABASE_URL: vault.urlFor('tokenvault_worker') })
  const compose = () => composeWorker(config, { log, environment: {} })

  await t.rejects(compose(), { code: 'keyset_incomplete' }, 'a field without keys is not started')
  const { keys } = await prepareDatabase(loadConfig('migrate', { ...environment, DATABASE_URL: vault.adminUrl }), {
    environment: {},
  })
  t.same(keys, ['token/email/v1', 'data/email/v1'], 'migrate makes them')

  const refused: unknown = await compose().catch((error: unknown) => error)
  t.match(refused, {
    code: 'config_invalid',
    message: 'column masked_email of user_logins, for field email, is missing',
  })
  const sql = /ALTER TABLE .*$/.exec((refused as Error).message)![0]
  const owner = await vault.connect()
  await owner.query(sql)

  await queue.send([
    JSON.stringify(loginEvent(1, { email: ' Ada@EXAMPLE.com' })),
    JSON.stringify(loginEvent(2, { email: 'Ada@example.com' })),
    JSON.stringify(loginEvent(3)),
  ])
  const worker = await compose()
  t.teardown(() => worker.close())
  const totals = await worker.run({ drain: true, signal: new AbortController().signal })
  t.match(totals, { stored: 2, quarantined: 1 }, 'an event without the property is kept, and is no row')
  const { rows } = await owner.query('SELECT DISTINCT masked_email, masked_device_id FROM user_logins')
  t.equal(rows.length, 1, 'equal values, equal tokens')
  t.match(rows[0], { masked_email: /^email_v1_/, masked_device_id: null })
  t.match((await owner.query('SELECT reason FROM pii_vault.quarantine')).rows, [{ reason: 'email_missing' }])

  const api = await openVault(loadConfig('lambda', { ...environment, DATABASE_URL: vault.urlFor('tokenvault_api') }), {
    environment: {},
    applicationName: 'tokenvault test',
  })
  t.teardown(() => api.database.destroy())
  const policy = readPolicy(policyPlace({}), api.fields)
  const detokenize = createDetokenize({
    ...api,
    originals: createOriginalReader(api.database),
    signer: api.keys.signer('tokenvault/test'),
    openAction: createOpenAction({ log: new ListAudit(), keys: api.keys, policy: () => policy }),
  })
  const principal = {
    issuer: 'https://issuer.test',
    subject: 'inv-1',
    roles: ['investigator'],
    channel: 'http',
  } as const
  const request = { requestId: 'r-1', purpose: 'fraud_investigation', tokens: [rows[0].masked_email], atomic: false }
  t.match(await detokenize(principal, request), { items: [{ field: 'email', value: 'Ada@example.com' }] })
})
