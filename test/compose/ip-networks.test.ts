import { join } from 'node:path'
import t, { type Test } from 'tap'
import { readFields } from '../../src/compose/fields.ts'
import { prepareDatabase } from '../../src/compose/prepare-database.ts'
import { openVault } from '../../src/compose/vault.ts'
import { composeWorker } from '../../src/compose/worker.ts'
import { loadConfig } from '../../src/config/load.ts'
import { createLambdaFunction } from '../../src/lambda.ts'
import { createLedger } from '../../src/store/ledger.ts'
import { createOriginalReader } from '../../src/store/originals.ts'
import { createOpenAction } from '../../src/vault/admission/open-action.ts'
import { parsePolicyFile } from '../../src/vault/files/policy-file.ts'
import { reconcile } from '../../src/vault/ledger/reconcile.ts'
import { createDetokenize } from '../../src/vault/tokens/detokenize.ts'
import { createTokenize } from '../../src/vault/tokens/tokenize.ts'
import { createVaultDatabase } from '../helpers/postgres/vault-database.ts'
import { loginEvent } from '../helpers/queue/events.ts'
import { startQueue } from '../helpers/queue/server.ts'
import { ListAudit } from '../helpers/vault/vault-world.ts'

const plain = `version: 1
fields:
  - { name: ip, rule: ip.v1, column: masked_ip, required: false }
  - { name: device_id, rule: device_id.v1, column: masked_device_id, required: false }
`
const withNetwork = `${plain}  - { name: network, derive: network.v1, from: ip }\n`

async function startWorld(t: Test) {
  const vault = await createVaultDatabase(t)
  const { queue, queueUrl, server, log } = await startQueue(t)
  const folder = t.testdir({ plain, withNetwork, strict: withNetwork.replaceAll(', required: false', '') })
  const environmentOf = (file: string) => ({
    KEK_FILE: vault.kekFile,
    FIELDS_FILE: join(folder, file),
    SQS_QUEUE_URL: queueUrl,
    AWS_ENDPOINT_URL_SQS: `http://127.0.0.1:${server.port}`,
  })
  const migrate = (file: string) =>
    prepareDatabase(loadConfig('migrate', { ...environmentOf(file), DATABASE_URL: vault.adminUrl }), {
      environment: {},
    })
  const compose = async (file: string) => {
    const config = loadConfig('worker', { ...environmentOf(file), DATABASE_URL: vault.urlFor('tokenvault_worker') })
    const worker = await composeWorker(config, { log, environment: {} })
    t.teardown(() => worker.close())
    return worker
  }
  const send = (events: readonly object[]) => queue.send(events.map(event => JSON.stringify(event)))
  const admin = await vault.connect()
  const analyst = await vault.connect('tokenvault_analyst')
  const readNetworks = async () => {
    const { rows } = await analyst.query('SELECT * FROM analyst.ip_networks ORDER BY scope, masked_ip')
    return rows
  }
  const openFields = (file: string) => readFields(environmentOf(file))
  return { vault, migrate, compose, send, admin, analyst, readNetworks, openFields, environmentOf }
}

const drain = { drain: true, signal: new AbortController().signal }
const logins = (ips: readonly unknown[]) => ips.map((ip, n) => loginEvent(n, { ip }))

t.test('analysts group logins by network, and see none', async t => {
  const { vault, migrate, compose, send, admin, analyst, readNetworks, openFields } = await startWorld(t)
  t.same((await migrate('withNetwork')).keys, ['token/network/v1', 'data/network/v1'])
  const worker = await compose('withNetwork')
  const ips = ['81.2.69.142', '81.2.69.160', '::ffff:81.2.69.142', '81.2.70.1', '10.1.2.3', '2606:4700::1111']
  await send(logins([...ips, '2606:4700:0:ffff::1', '0.0.0.0', null, '81.2.69.142']))
  t.match(await worker.run(drain), { stored: 10, quarantined: 0 })

  const { rows } =
    await analyst.query(`SELECT family, scope, count(*)::int AS logins, count(DISTINCT masked_ip)::int AS addresses
    FROM user_logins JOIN analyst.ip_networks USING (masked_ip)
    GROUP BY masked_network, family, scope ORDER BY logins DESC, family, scope`)
  t.same(rows, [
    { family: 4, scope: 'public', logins: 4, addresses: 2 },
    { family: 6, scope: 'public', logins: 2, addresses: 2 },
    { family: 4, scope: 'private', logins: 1, addresses: 1 },
    { family: 4, scope: 'public', logins: 1, addresses: 1 },
  ])
  for (const row of await readNetworks()) t.match(row, { masked_ip: /^ip_v1_/, masked_network: /^network_v1_/ })
  const stored = await admin.query(`SELECT count(*)::int AS n FROM pii_vault.originals WHERE field = 'network'`)
  t.same(stored.rows, [{ n: 4 }], 'one original a network')
  for (const statement of ['DELETE FROM analyst.ip_networks', 'SELECT FROM analyst.ip_networks'])
    await t.rejects((await vault.connect('tokenvault_worker')).query(statement), { code: '42501' })

  const ledger = () => reconcile(createLedger(vault.database('tokenvault_auditor')), openFields('withNetwork'))
  t.match(await ledger(), { isConsistent: true, unmatched: [] })
  await admin.query(
    `UPDATE analyst.ip_networks SET masked_network = 'network_v1_AAAAAAAAAAAAAAAAAAAAAA' WHERE scope = 'private'`,
  )
  t.match(await ledger(), {
    isConsistent: false,
    unmatched: [
      { finding: 'token_without_original', field: 'network', day: null, count: 1 },
      { finding: 'original_without_token', field: 'network', count: 1 },
    ],
  })
})

t.test('nobody gets a network, or its token, without a right on the derived field', async t => {
  const { vault, migrate, compose, send, readNetworks, environmentOf } = await startWorld(t)
  await migrate('withNetwork')
  await send(logins(['203.0.113.7']))
  await (await compose('withNetwork')).run(drain)
  const [{ masked_ip: ip, masked_network: network }] = await readNetworks()

  const config = loadConfig('lambda', { ...environmentOf('withNetwork'), DATABASE_URL: vault.urlFor('tokenvault_api') })
  const api = await openVault(config, { environment: {}, applicationName: 'tokenvault test' })
  t.teardown(() => api.database.destroy())
  const role = (field: string, level: string) =>
    `{ reveal: { ${field}: ${level} }, tokenize: [${field}], purposes: ["*"] }`
  const policyText = `version: 1
roles:
  addresses: ${role('ip', 'full')}
  networks: ${role('network', 'full')}
  regions: ${role('network', 'partial')}
`
  const policy = parsePolicyFile(policyText, { source: 'policy', fields: api.fields })
  const openAction = createOpenAction({ log: new ListAudit(), keys: api.keys, policy: () => policy })
  const signer = api.keys.signer('tokenvault/test')
  const detokenize = createDetokenize({ ...api, originals: createOriginalReader(api.database), signer, openAction })
  const tokenize = createTokenize({ ...api, signer, openAction })
  const principal = (name: string) =>
    ({ issuer: 'https://issuer.test', subject: name, roles: [name], channel: 'http' }) as const
  const call = { requestId: 'r-1', purpose: 'fraud' }
  const reveal = async (name: string) => {
    const answer = await detokenize(principal(name), { ...call, tokens: [ip, network], atomic: false })
    if (!('items' in answer)) throw new Error('no items')
    return answer.items.map(item => ('value' in item ? item.value : item.error.code))
  }
  t.same(await reveal('addresses'), ['203.0.113.7', 'field_not_permitted'])
  t.same(await reveal('networks'), ['field_not_permitted', '203.0.113.0/24'])
  t.same(await reveal('regions'), ['field_not_permitted', '203.0.0.0/16'])
  const values = [
    { field: 'network', value: '203.0.113.0/24' },
    { field: 'network', value: '203.0.113.99' },
    { field: 'network', value: '203.0.0.0/16' },
    { field: 'ip', value: '203.0.113.7' },
  ]
  const lookUp = async (name: string) => {
    const answer = await tokenize(principal(name), { ...call, values })
    if (!('items' in answer)) throw new Error('no items')
    return answer.items.map(item => ('token' in item ? item.token : item.error.code))
  }
  t.same(await lookUp('networks'), [network, network, 'value_invalid', 'field_not_permitted'])
  t.same(await lookUp('addresses'), [...Array(3).fill('field_not_permitted'), ip])
})

t.test('a network that is configured later comes with the next login from the address', async t => {
  const { migrate, compose, send, readNetworks, admin } = await startWorld(t)
  await migrate('plain')
  await send(logins(['81.2.69.142', '81.2.70.1']))
  await (await compose('plain')).run(drain)
  t.same(await readNetworks(), [])
  await t.rejects(compose('withNetwork'), { code: 'keyset_incomplete' }, 'keys are made by migrate')
  await migrate('withNetwork')
  const worker = await compose('withNetwork')
  await send(logins(['81.2.70.1']))
  await worker.run(drain)
  t.equal((await readNetworks()).length, 1)
  // While an address is remembered no statement is spent on it: nobody puts the row back that a hand took.
  await admin.query('DELETE FROM analyst.ip_networks')
  await send(logins(['81.2.70.1', '81.2.69.142']))
  await worker.run(drain)
  t.equal((await readNetworks()).length, 1)
  await send(logins(['81.2.70.1']))
  await (await compose('withNetwork')).run(drain)
  t.equal((await readNetworks()).length, 2, 'another process remembers nothing')
})

t.test('redriven events and Lambda write networks, too', async t => {
  const { vault, migrate, compose, send, readNetworks, admin, environmentOf } = await startWorld(t)
  await migrate('withNetwork')
  await send([loginEvent(1, { ip: '81.2.69.142', device_id: null })])
  const strict = await compose('strict')
  t.match(await strict.run(drain), { quarantined: 1 })
  t.same(await readNetworks(), [])
  const api = await vault.connect('tokenvault_api')
  await api.query('SELECT pii_vault.request_redrive(array_agg(id)) FROM pii_vault.quarantine')
  await (await compose('withNetwork')).run(drain)
  t.match(await readNetworks(), [{ scope: 'public', family: 4 }])

  const { handler, close } = createLambdaFunction(
    { ...environmentOf('withNetwork'), DATABASE_URL: vault.urlFor('tokenvault_worker'), LOG_LEVEL: 'fatal' },
    () => {},
  )
  t.teardown(close)
  const record = {
    messageId: 'm-1',
    receiptHandle: 'r',
    body: JSON.stringify(loginEvent(1, { ip: 'fd00::1' })),
    attributes: { SentTimestamp: String(Date.now()), ApproximateReceiveCount: '1' },
    eventSource: 'aws:sqs',
    eventSourceARN: 'arn:aws:sqs:us-east-2:123456789012:my-queue',
  }
  t.same(await handler({ Records: [record] } as never, { getRemainingTimeInMillis: () => 30_000 }), {
    batchItemFailures: [],
  })
  t.match(await readNetworks(), [{ scope: 'public' }, { scope: 'unique_local', family: 6 }])
  t.equal((await admin.query(`SELECT FROM pii_vault.originals WHERE field = 'network'`)).rowCount, 2)
})

t.test('workers that meet the same new addresses at once neither deadlock nor write twice', async t => {
  const { migrate, compose, send, readNetworks, admin } = await startWorld(t)
  await migrate('withNetwork')
  const ips = Array.from({ length: 150 }, (_, n) => `81.2.${n % 50}.${n}`)
  for (const seed of [1, 2, 3]) {
    const shuffled = ips.toSorted(
      (a, b) => ((Number(a.split('.')[3]) * 31 * seed) % 151) - ((Number(b.split('.')[3]) * 31 * seed) % 151),
    )
    await send(logins(shuffled))
  }
  const workers = await Promise.all([1, 2, 3, 4].map(() => compose('withNetwork')))
  const totals = await Promise.all(workers.map(worker => worker.run(drain)))
  t.equal(
    totals.reduce((sum, { stored }) => sum + stored, 0),
    450,
  )
  t.equal((await readNetworks()).length, 150)
  t.equal((await admin.query(`SELECT FROM pii_vault.originals WHERE field = 'network'`)).rowCount, 50)
})
