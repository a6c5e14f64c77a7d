import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { inspect } from 'node:util'
import { sql } from 'kysely'
import t from 'tap'
import { createIngestStore } from '../../../src/store/ingest.ts'
import { createKeyReader } from '../../../src/store/keys.ts'
import { createOriginalReader } from '../../../src/store/originals.ts'
import { createDatabase } from '../../../src/store/postgres/database.ts'
import { loginFields } from '../../../src/vault/fields/fields.ts'
import { startDatabaseProxy } from '../../helpers/postgres/database-proxy.ts'
import { createVaultDatabase, openDatabase, readClusterLog, withLogin } from '../../helpers/postgres/vault-database.ts'
import { loginRow, messageOf } from '../../helpers/queue/tokenized-messages.ts'

t.test('what keeps a statement from the database is named by its code, and by nothing else', async t => {
  const { adminUrl, urlFor } = await createVaultDatabase(t)
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const closedPort = (server.address() as AddressInfo).port
  server.close()
  await once(server, 'close')
  const other = (change: (url: URL) => void) => {
    const url = new URL(urlFor('tokenvault_api'))
    change(url)
    return url.href
  }
  const login = 'the server does not let the role in: name, password or pg_hba.conf is wrong; '
  const cases: [url: string, code: string, message: string][] = [
    [
      other(url => (url.port = String(closedPort))),
      'store_unavailable',
      'nothing accepts connections at the host and port; the database answered: ECONNREFUSED',
    ],
    [
      other(url => (url.pathname = '/no_such_database')),
      'store_misconfigured',
      'the database does not exist; the database answered: SQLSTATE 3D000',
    ],
    [
      withLogin(adminUrl, 'tokenvault_api', 'wrong-password'),
      'store_misconfigured',
      `${login}the database answered: SQLSTATE 28P01`,
    ],
    [
      withLogin(adminUrl, 'no_such_role', 'wrong-password'),
      'store_misconfigured',
      `${login}the database answered: SQLSTATE 28P01`,
    ],
  ]
  for (const [url, code, message] of cases) {
    const failure = await createKeyReader(openDatabase(t, url))
      .readKeys()
      .catch(error => error)
    t.match(failure, { code, message, cause: undefined })
    t.notMatch(inspect(failure), 'wrong-password')
  }
})

t.test('no error holds a value that was stored, and with default settings the server logs none either', async t => {
  const vault = await createVaultDatabase(t)
  const admin = await vault.connect()
  // What a Postgres of one's own is set to; the embedded one logs less.
  await admin.query(`ALTER DATABASE ${vault.name} SET log_min_messages = 'warning';
    ALTER DATABASE ${vault.name} SET log_min_error_statement = 'error';
    ALTER DATABASE ${vault.name} SET log_error_verbosity = 'default'`)
  const canary = `canary-${vault.name}`
  const store = createIngestStore(vault.database('tokenvault_worker'), loginFields)
  const row = loginRow(vault.tokenizer, 1)
  const bad = [
    messageOf('m-1', { ...row, userId: canary.padEnd(129, 'x') }),
    messageOf('m-2', { ...row, userId: `${canary}\0` }),
    messageOf('m-3', { ...row, userId: canary, appVersion: 3_000_000_000 }),
    messageOf('m-4', { ...row, userId: canary, locale: canary.repeat(2) }),
    messageOf('m-5', { ...row, userId: canary }, { sentOn: '2001-01-01' }),
    messageOf(`${canary}\0`, row),
    messageOf(canary + randomBytes(6000).toString('hex'), row),
  ]
  for (const message of bad) {
    const failure = await store.storeMessages([message]).catch(error => error)
    t.match(failure, { code: 'store_refused', cause: undefined })
    t.match(failure.message, /^the database answered: SQLSTATE [25][0-9A-Z]{4}$/)
    t.notMatch(inspect(failure, { depth: null, showHidden: true }), canary)
  }
  const log = readClusterLog()
  t.match(log, 'value too long for type character varying(128)', 'these failures are in the log')
  t.notMatch(log, canary)
})

t.test('a statement that the role may not run is a grant to be mended, not a fault of the data', async t => {
  const vault = await createVaultDatabase(t)
  const reader = createOriginalReader(vault.database('tokenvault_worker'))
  await t.rejects(reader.findOriginals(['0'.repeat(32)]), {
    code: 'store_misconfigured',
    message: 'a grant is missing, or an owner was changed; the database answered: SQLSTATE 42501',
  })
  await t.resolves(createKeyReader(vault.database('tokenvault_worker')).readKeys())
})

t.test('a fault of ours is not taken for an outage, which would be retried for ever', async t => {
  const vault = await createVaultDatabase(t)
  const store = createIngestStore(vault.database('tokenvault_worker'), loginFields)
  const row = loginRow(vault.tokenizer, 1, { tokens: [] })
  await t.rejects(store.storeMessages([messageOf('m-1', row)]), TypeError)
})

t.test('the server ends a statement that takes too long', async t => {
  const { adminUrl } = await createVaultDatabase(t)
  const database = createDatabase({
    url: adminUrl,
    poolMax: 1,
    applicationName: 't',
    statementTimeoutMilliseconds: 100,
  })
  t.teardown(() => database.destroy())
  await t.rejects(sql`select pg_sleep(60)`.execute(database), { code: '57014' })
  await t.resolves(createKeyReader(database).readKeys())
})

t.test('a connection that falls silent is given up, and the next call gets another', async t => {
  const { urlFor, tokenizer } = await createVaultDatabase(t)
  const proxy = await startDatabaseProxy(t, urlFor('tokenvault_worker'))
  const database = createDatabase({
    url: proxy.url,
    poolMax: 1,
    applicationName: 't',
    statementTimeoutMilliseconds: 1000,
  })
  t.teardown(() => database.destroy())
  const store = createIngestStore(database, loginFields)
  const keys = createKeyReader(database)
  const lost = { code: 'store_unavailable', message: 'the database answered: connection lost' }
  t.equal((await keys.readKeys()).length, 7)
  proxy.silence()
  await t.rejects(keys.readKeys(), lost)
  t.equal((await keys.readKeys()).length, 7)
  proxy.silence()
  await t.rejects(store.storeMessages([messageOf('m-1', loginRow(tokenizer, 1))]), lost)
  t.match(await store.storeMessages([messageOf('m-1', loginRow(tokenizer, 1))]), { rows: 1 })
  t.equal(proxy.connections(), 3)
})
