import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { readFields } from '../../src/compose/fields.ts'
import { prepareDatabase } from '../../src/compose/prepare-database.ts'
import { openIngestVault, openVault } from '../../src/compose/vault.ts'
import { loadConfig } from '../../src/config/load.ts'
import { openLocalKek } from '../../src/kms/local.ts'
import { createFieldRecordReader } from '../../src/store/fields.ts'
import { insertOriginals } from '../../src/store/insert-originals.ts'
import { createKeyReader } from '../../src/store/keys.ts'
import { FieldKeys } from '../../src/vault/keys/field-keys.ts'
import { openKeyset } from '../../src/vault/keys/wrapped-keys.ts'
import { createTokenizer } from '../../src/vault/tokens/tokenizer.ts'
import { runCommand } from '../helpers/cli/cli.ts'
import { runInProcess } from '../helpers/cli/cli-in-process.ts'
import { until } from '../helpers/faults/plan.ts'
import {
  connectTo,
  createVaultDatabase,
  passwordOf,
  testTenant,
  withLogin,
} from '../helpers/postgres/vault-database.ts'

const configured = `version: 1
fields:
  - { name: ip, rule: ip.v1, column: masked_ip, format: inet }
  - { name: device_id, rule: device_id.v1, column: masked_device_id }
  - { name: gateway, rule: ip.v1, column: gateway_token }
  - { name: network, derive: network.v1, from: ip }
`

/** One property each, of a field that has tokens, and what is said of it. */
const changes: readonly (readonly [change: (text: string) => string, says: string])[] = [
  [
    text => text.replace('device_id.v1', 'text.v1'),
    'field device_id: rule is text.v1 and was device_id.v1 when its tokens were made',
  ],
  [
    text => text.replace('column: masked_device_id', 'column: masked_device_id, format: uuid'),
    'field device_id: format is uuid and was text when its tokens were made',
  ],
  [
    text => text.replace('inet }', 'inet, inet_prefix: "fc00::/8" }'),
    'field ip: inet_prefix is fc00::/8 and was fd00::/8 when its tokens were made',
  ],
  [
    text => text.replace(', format: inet', ''),
    'field ip: format is text and was inet, inet_prefix is none and was fd00::/8 when its tokens were made',
  ],
  [
    text => text.replace('from: ip', 'from: gateway'),
    'field network: from is gateway and was ip when its tokens were made',
  ],
  [
    text => text.replace('derive: network.v1, from: ip', 'rule: text.v1, column: n'),
    'field network: rule is text.v1 and was network.v1, from is none and was ip when its tokens were made',
  ],
  [
    text => text.replace('device_id.v1', 'text.v1').replace('from: ip', 'from: gateway'),
    'field device_id: rule is text.v1 and was device_id.v1; field network: from is gateway and was ip when its tokens were made',
  ],
]

const opening = { environment: {}, applicationName: 'tokenvault test' }
const asApi = { ...opening, role: 'tokenvault_api' } as const

async function start(t: Test) {
  const vault = await createVaultDatabase(t)
  const FIELDS_FILE = join(t.testdir({ fields: configured }), 'fields')
  const environment = {
    KEK_FILE: vault.kekFile,
    FIELDS_FILE,
    JWT_ISSUER: 'https://issuer.test',
    JWT_AUDIENCE: 'tokenvault',
    JWKS_URL: 'http://127.0.0.1:1/jwks',
    SQS_QUEUE_URL: 'http://127.0.0.1:1/q',
    AWS_ENDPOINT_URL_SQS: 'http://127.0.0.1:1',
    AWS_REGION: 'eu-west-1',
    AWS_ACCESS_KEY_ID: 'x',
    AWS_SECRET_ACCESS_KEY: 'x',
  }
  const migrate = (url = vault.adminUrl) =>
    prepareDatabase(loadConfig('migrate', { ...environment, DATABASE_URL: url }), { environment: {} })
  const configure = (text: string) => writeFileSync(FIELDS_FILE, text)
  const recorded = () => createFieldRecordReader(vault.database('tokenvault_api', 1)).readRecordedFields()
  /** One original of each field. */
  const store = async () => {
    const fields = readFields({ FIELDS_FILE })
    const database = vault.database('tokenvault_worker', 1)
    const keys = new FieldKeys(
      await openKeyset(createKeyReader(database), openLocalKek(vault.kekFile), testTenant),
      testTenant,
    )
    const tokenizer = createTokenizer(keys, fields)
    const made = [...fields.values()].flatMap(({ name, rule }) =>
      tokenizer.tokenizeValues(name, [rule === 'network.v1' ? '203.0.113.0/24' : '203.0.113.7']),
    )
    await insertOriginals(
      database,
      made.map(one => {
        if ('code' in one) throw new Error(one.code)
        return one.original
      }),
    )
  }
  return { ...vault, environment, migrate, configure, recorded, store }
}

t.test(
  'what makes the tokens of a field is refused to change once it has tokens, by every process and after a restore',
  async t => {
    const { migrate, configure, store, recorded, environment, ...vault } = await start(t)
    await migrate()
    await store()
    const owner = await vault.connect()
    const before = await recorded()
    const restored = `${vault.name}_restored`
    await owner.query(
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid()`,
      [vault.name],
    )
    const postgres = await connectTo(t, Object.assign(new URL(vault.adminUrl), { pathname: '/postgres' }).href)
    await owner.end()
    await postgres.query(`CREATE DATABASE "${restored}" TEMPLATE "${vault.name}"`)
    t.teardown(() => postgres.query(`DROP DATABASE IF EXISTS "${restored}" WITH (FORCE)`))
    const restoredUrl = Object.assign(new URL(vault.adminUrl), { pathname: `/${restored}` }).href
    const roles = { worker: 'tokenvault_worker', api: 'tokenvault_api' } as const
    const configFor = (role: keyof typeof roles, url = vault.urlFor(roles[role])) =>
      loadConfig('lambda', { ...environment, DATABASE_URL: url })
    for (const [change, message] of changes) {
      configure(change(configured))
      const refusal = { code: 'field_changed', message }
      await t.rejects(migrate(), refusal)
      await t.rejects(openIngestVault(configFor('worker'), opening), refusal, 'worker and Lambda function')
      await t.rejects(openVault(configFor('api'), asApi), refusal, 'API')
      const restoredApi = withLogin(restoredUrl, 'tokenvault_api', passwordOf('tokenvault_api'))
      await t.rejects(openVault(configFor('api', restoredApi), asApi), refusal, 'restored')
      await t.rejects(migrate(restoredUrl), refusal, 'migrate after a restore')
    }
    t.same(await recorded(), before, 'nothing was recorded')
    const [change, message] = changes[0]!
    configure(change(configured))
    const line = new RegExp(
      `^tokenvault: field_changed: ${message}\\. Put back in FIELDS_FILE what is named, or configure a new field under a new name\\. .*\\n$`,
    )
    const auditor = { DATABASE_URL: vault.urlFor('tokenvault_auditor'), FIELDS_FILE: environment.FIELDS_FILE }
    t.match(await runInProcess(['reconcile'], auditor), { code: 2, stdout: '', stderr: line })
    for (const name of ['worker', 'api'] as const) {
      const ended = await runCommand(t, [name], { ...environment, DATABASE_URL: vault.urlFor(roles[name]) })
      t.match(
        ended,
        { code: 2, stderr: /field_changed.*field device_id: rule is text\.v1 and was device_id\.v1/ },
        name,
      )
      const doctor = await runInProcess(['doctor', '--json'], {
        ...environment,
        DATABASE_URL: vault.urlFor(roles[name]),
      })
      t.match(
        doctor.stdout,
        /"check":"recorded fields","status":"fail","says":"field device_id: rule is text\.v1 and was device_id\.v1/,
        `doctor ${name}`,
      )
    }
  },
)

t.test(
  'column, placeholders and whether it is required may change at any time, and a field may leave and come back',
  async t => {
    const { migrate, configure, store, recorded, environment, urlFor } = await start(t)
    await migrate()
    await store()
    const open = async () => {
      const vault = await openVault(
        loadConfig('lambda', { ...environment, DATABASE_URL: urlFor('tokenvault_api') }),
        asApi,
      )
      await vault.database.destroy()
    }
    configure(configured.replace('masked_ip,', 'other_column, required: false, placeholders: ["192.0.2.1"],'))
    await t.resolves(open())
    configure(configured.replace(/ {2}- \{ name: device_id.*\n/, ''))
    await migrate()
    await t.resolves(open())
    t.ok(
      (await recorded()).some(({ name }) => name === 'device_id'),
      'it stays recorded: its tokens may be anywhere',
    )
    configure(configured.replace('device_id.v1', 'text.v1'))
    await t.rejects(migrate(), { code: 'field_changed' }, 'it comes back as it was')
    configure(`${configured}  - { name: email, rule: email.v1, column: masked_email }\n`)
    await t.rejects(open(), { code: 'keyset_incomplete' }, 'a field that is new has no keys yet')
    await migrate()
    await t.resolves(open())
  },
)

t.test('before a field has tokens it may change; migrate records it anew, and no process runs ahead of it', async t => {
  const { migrate, configure, recorded, environment, urlFor, connect } = await start(t)
  const open = async () => {
    const vault = await openVault(
      loadConfig('lambda', { ...environment, DATABASE_URL: urlFor('tokenvault_api') }),
      asApi,
    )
    await vault.database.destroy()
  }
  await migrate()
  for (const [change, message] of changes) {
    configure(change(configured))
    await t.rejects(open(), { code: 'field_changed', message }, 'until migrate knows')
    await migrate()
    await t.resolves(open())
    configure(configured)
    await migrate()
  }
  t.match(await recorded(), [
    { name: 'device_id' },
    { name: 'gateway' },
    { name: 'ip', inetPrefix: 'fd00::/8' },
    { name: 'network', derivedFrom: 'ip' },
  ])

  const owner = await connect()
  await owner.query('DELETE FROM pii_vault.fields')
  await t.rejects(
    open(),
    { code: 'store_misconfigured', message: 'field ip is not recorded yet: run `tokenvault migrate`' },
    'a database of an earlier version',
  )
  await Promise.all([migrate(), migrate()])
  await t.resolves(open())
  t.equal((await recorded()).length, 4, 'two migrators at once record it once')
})

t.test('a field gets its first token while migrate records a change: one of the two is refused', async t => {
  const { migrate, configure, recorded, connect } = await start(t)
  await migrate()
  const writer = await connect()
  await writer.query('BEGIN')
  await writer.query(
    `INSERT INTO pii_vault.originals (token_id, field, token_key_version, data_key_version, sealed) VALUES (gen_random_uuid(), 'device_id', 1, 1, '')`,
  )
  configure(changes[0]![0](configured))
  const migrating = t.rejects(migrate(), { code: 'field_changed' })
  const admin = await connect()
  await until('migrate waits for the transaction', async () => {
    return (
      (await admin.query(`SELECT FROM pg_locks WHERE NOT granted AND relation = 'pii_vault.originals'::regclass`))
        .rowCount === 1
    )
  })
  await writer.query('COMMIT')
  await migrating
  t.match(await recorded(), [{ name: 'device_id', rule: 'device_id.v1' }])
})
