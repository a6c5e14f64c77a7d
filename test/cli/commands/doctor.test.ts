import { randomBytes } from 'node:crypto'
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { startFauxqs } from 'fauxqs'
import t, { type Test } from 'tap'
import { createFileSink } from '../../../src/publish/sinks.ts'
import { createAuditReader, createCheckpointStore } from '../../../src/store/audit-reader.ts'
import { signCheckpoint } from '../../../src/tlog/checkpoint.ts'
import { createNoteSigner } from '../../../src/tlog/signed-note.ts'
import { createMakeCheckpoint } from '../../../src/vault/evidence/make-checkpoint.ts'
import { runInProcess } from '../../helpers/cli/cli-in-process.ts'
import { temporaryDirectory } from '../../helpers/embedded/embedded-directory.ts'
import { createIssuerKey, issuer, startJwksServer } from '../../helpers/http/jwks-server.ts'
import { startProxyServer } from '../../helpers/http/proxy-server.ts'
import { body, keySet, startTroubledIssuer } from '../../helpers/http/troubled-issuer.ts'
import { createTestDatabase } from '../../helpers/postgres/embedded-postgres.ts'
import { createVaultDatabase, withLogin } from '../../helpers/postgres/vault-database.ts'
import { startQueueProxy } from '../../helpers/queue/proxy.ts'

interface Check {
  readonly subject: string
  readonly check: string
  readonly status: 'ok' | 'warn' | 'fail' | 'skip'
  readonly says: string
  readonly remedy: string | null
}

/** Real parts, all of them well: what a worker and an API of one vault would be started with. */
async function startParts(t: Test) {
  const vault = await createVaultDatabase(t)
  const sqs = await startFauxqs({ port: 0, logger: false })
  t.teardown(() => sqs.stop())
  const endpoint = `http://127.0.0.1:${sqs.port}`
  const days = (count: number) => String(count * 86_400)
  const dead = sqs.createQueue('logins-dlq', { attributes: { MessageRetentionPeriod: days(14) } })
  const redrive = (queueArn: string, maxReceiveCount = 5) => ({
    RedrivePolicy: JSON.stringify({ deadLetterTargetArn: queueArn, maxReceiveCount }),
  })
  const queue = (name: string, attributes: Record<string, string> = {}) =>
    sqs.createQueue(name, { attributes: { MessageRetentionPeriod: days(7), ...attributes } }).queueUrl
  const key = await createIssuerKey('key-1')
  const jwks = await startJwksServer(t, key.publicJwk)
  const worker = {
    DATABASE_URL: vault.urlFor('tokenvault_worker'),
    KEK_FILE: vault.kekFile,
    SQS_QUEUE_URL: queue('logins', redrive(dead.queueArn)),
    AWS_ENDPOINT_URL_SQS: endpoint,
  }
  const directory = temporaryDirectory(t)
  const database = vault.database('tokenvault_api', 2)
  const signer = vault.keys.signer('tokenvault/default')
  const makeCheckpoint = createMakeCheckpoint({
    reader: createAuditReader(database),
    store: createCheckpointStore(database),
    signer,
    sink: createFileSink(directory),
  })
  const admin = await vault.connect()
  const append = (count: number) =>
    admin.query(
      `SELECT pii_vault.append_audit(array_agg(convert_to('{"n":' || n || '}', 'UTF8'))) FROM generate_series(1, $1) AS n`,
      [count],
    )
  await append(3)
  await makeCheckpoint()
  const api = {
    CHECKPOINT_URL: `${pathToFileURL(directory)}/`,
    DATABASE_URL: vault.urlFor('tokenvault_api'),
    STORE_DATABASE_URL: vault.urlFor('tokenvault_store'),
    KEK_FILE: vault.kekFile,
    JWT_ISSUER: issuer,
    JWT_AUDIENCE: 'tokenvault',
    JWKS_URL: jwks.url,
  }
  return { vault, admin, append, signer, sqs, endpoint, dead, redrive, queue, key, jwks, worker, api }
}

/** The cluster that tests share has these off, and says so rightly. */
const ofTestCluster = /database setup: (fsync|full_page_writes) is off/

/** Runs `tokenvault doctor`, and looks that no line holds a secret. */
async function examine(t: Test, environment: NodeJS.ProcessEnv, args: readonly string[] = []) {
  const { code, stdout, stderr } = await runInProcess(['doctor', ...args], environment)
  t.equal(stderr, '')
  t.notMatch(
    stdout,
    /password-of|wrong-password|postgres(ql)?:|127\.0\.0\.1:\d/,
    'no line holds a secret or an address',
  )
  return { code, lines: stdout.trimEnd().split('\n') }
}

async function examineJson(t: Test, environment: NodeJS.ProcessEnv, args: readonly string[] = []) {
  const { code, lines } = await examine(t, environment, ['--json', ...args])
  t.equal(lines.length, 1)
  const { counts, checks }: { counts: Record<string, number>; checks: Check[] } = JSON.parse(lines[0]!)
  const wrong = checks.filter(({ status, check, says }) => status !== 'ok' && !ofTestCluster.test(`${check}: ${says}`))
  for (const { status, check, remedy } of checks)
    t.equal(typeof remedy, status === 'ok' || status === 'skip' ? 'object' : 'string', `${check}: what to do`)
  return { code, counts, checks, wrong: wrong.map(({ status, check, says }) => `${status} ${check}: ${says}`) }
}

t.test('what is well is told line by line, for whom the variables are', async t => {
  const { worker, api, vault } = await startParts(t)
  const ofWorker = await examine(t, worker)
  t.equal(ofWorker.code, 0)
  t.match(ofWorker.lines.at(-1), /^\d+ ok, 2 warn, 0 FAIL, 0 skipped$/)
  const others = ofWorker.lines.slice(0, -1).filter(line => !ofTestCluster.test(line))
  t.equal(others.length, ofWorker.lines.length - 3)
  for (const line of others) t.match(line, /^ok {4}worker {3}[a-zA-Z -]+: [^\n]+$/)
  const ofApi = await examineJson(t, api)
  t.equal(ofApi.code, 0)
  t.strictSame([...new Set(ofApi.checks.map(({ subject }) => subject))], ['api'])
  t.strictSame(ofApi.wrong, [])
  t.strictSame(Object.keys(ofApi.checks[0]!), ['subject', 'check', 'status', 'says', 'remedy'])
  for (const [subject, role] of [
    ['auditor', 'tokenvault_auditor'],
    ['analyst', 'tokenvault_analyst'],
  ] as const) {
    const { code, checks, wrong } = await examineJson(t, { DATABASE_URL: vault.urlFor(role) })
    t.strictSame(
      { code, wrong, subjects: [...new Set(checks.map(check => check.subject))] },
      { code: 0, wrong: [], subjects: [subject] },
    )
  }
})

t.test('before the first migration, that is all that is wrong', async t => {
  const { adminUrl } = await createTestDatabase(t)
  const kek = join(temporaryDirectory(t), 'kek')
  writeFileSync(kek, randomBytes(32), { mode: 0o600 })
  const { code, checks, wrong } = await examineJson(t, { DATABASE_URL: adminUrl, KEK_FILE: kek })
  t.equal(code, 1)
  t.strictSame(wrong, ['fail database setup: the database was not migrated yet'])
  t.strictSame([...new Set(checks.map(({ subject }) => subject))], ['migrate'])
})

t.test('each thing that is wrong has a line of its own, and the other checks go on', async t => {
  const parts = await startParts(t)
  const { vault, admin, append, signer, worker, api, queue, redrive, dead, endpoint, key, jwks, sqs } = parts
  const directory = temporaryDirectory(t)
  const otherKek = join(directory, 'other-kek')
  writeFileSync(otherKek, randomBytes(32), { mode: 0o600 })
  const open = join(directory, 'open')
  mkdirSync(open)
  chmodSync(directory, 0o755)
  const urlFile = join(open, 'url')
  writeFileSync(urlFile, worker.DATABASE_URL)
  chmodSync(urlFile, 0o644)
  const issuersFile = join(directory, 'issuers.yaml')
  const badPolicy = join(directory, 'policy.yaml')
  writeFileSync(badPolicy, 'version: 1\nroles: { typist: { reveal: { ip: all } } }\n')
  const badFields = join(directory, 'fields.yaml')
  writeFileSync(badFields, 'version: 1\nfields:\n  - { name: email, rule: email.v1, column: masked_email }\n')
  const gone = await startProxyServer(async () => {})
  await gone.close()
  const nowhere = gone.endpoint
  const section = (name: string, url: string) => ({ issuer: name, jwks_url: url, audiences: ['tokenvault'] })
  const issuers = [section(issuer, jwks.url), section('https://other.test', `${nowhere}/jwks.json`)]
  writeFileSync(issuersFile, JSON.stringify({ version: 1, issuers }))
  const withDate = async (target: string, offsetSeconds: number) => {
    const proxy = await startProxyServer(async ({ headers, body: text, response }) => {
      const passed = ['content-type', 'x-amz-target', 'authorization'].map(name => [name, String(headers[name])])
      const reply = await fetch(target, { method: 'POST', headers: Object.fromEntries(passed), body: text })
      response.setHeader('date', new Date(Date.now() + offsetSeconds * 1000).toUTCString())
      response.writeHead(reply.status, { 'content-type': 'application/x-amz-json-1.0' }).end(await reply.text())
    })
    t.teardown(() => proxy.close())
    return proxy.endpoint
  }
  /** The queue, where one action is answered with an error. */
  const answering = async (action: string, error: string) => {
    const refusal = {
      status: 400,
      body: JSON.stringify({ __type: `com.amazonaws.sqs#${error}`, message: 'secret-canary' }),
    }
    const proxy = await startQueueProxy(endpoint, async call => {
      return call.action === action ? refusal : { output: await call.forward() }
    })
    t.teardown(() => proxy.close())
    return proxy.endpoint
  }
  const issuerAt = async (answer: Parameters<typeof startTroubledIssuer>[1]) => ({
    ...api,
    JWKS_URL: (await startTroubledIssuer(t, answer)).url,
  })
  const date = (offsetSeconds: number) => new Date(Date.now() + offsetSeconds * 1000).toUTCString()
  const weak = { ...(await createIssuerKey('key-2', 'RS256')).publicJwk, n: 'AQAB' }
  const { privateKey } = await createIssuerKey('key-3')
  const secret = { ...key.publicJwk, d: (await crypto.subtle.exportKey('jwk', privateKey)).d! }

  await append(4)
  /** A place where the checkpoint of that size is published, signed by whoever, with the root of whatever tree. */
  const publishedAt = (treeSize: number, by = signer) => {
    const place = temporaryDirectory(t)
    const note = signCheckpoint(by, { treeSize, root: new Uint8Array(32) })
    writeFileSync(join(place, `${String(treeSize).padStart(16, '0')}.note`), note)
    return { ...api, CHECKPOINT_URL: `${pathToFileURL(place)}/` }
  }
  sqs.createQueue('with-dead', { attributes: {} })
  const busyDead = sqs.createQueue('busy-dlq', { attributes: { MessageRetentionPeriod: String(14 * 86_400) } })
  sqs.sendMessage('busy-dlq', '{}')
  const cases: Record<
    string,
    { environment: NodeJS.ProcessEnv; code: number; says: readonly RegExp[]; spoil?: string; mend?: string }
  > = {
    'a wrong password': {
      environment: { ...worker, DATABASE_URL: withLogin(vault.adminUrl, 'tokenvault_worker', 'wrong-password') },
      code: 1,
      says: [
        /^fail database server: the server does not let the role in/,
        /^skip clock of the database: there is no connection/,
        /^skip database setup/,
        /^skip database role/,
        /^skip keys/,
        /^skip recorded fields/,
        /^skip columns/,
      ],
    },
    'the superuser in place of the role': {
      environment: { ...worker, DATABASE_URL: vault.adminUrl },
      code: 1,
      says: [/^fail database role: the login may do more than tokenvault_worker: it has SUPERUSER, /],
    },
    'the role of another process': {
      environment: { ...worker, DATABASE_URL: vault.urlFor('tokenvault_api') },
      code: 1,
      says: [/^fail database role: the login is not tokenvault_worker$/],
    },
    'no login for storing': { environment: { ...api, STORE_DATABASE_URL: undefined }, code: 0, says: [] },
    'a wrong password for storing': {
      environment: {
        ...api,
        STORE_DATABASE_URL: withLogin(vault.adminUrl, 'tokenvault_store', 'wrong-password'),
      },
      code: 1,
      says: [/^fail storing: the server does not let the role in/],
    },
    'the superuser for storing': {
      environment: { ...api, STORE_DATABASE_URL: vault.adminUrl },
      code: 1,
      says: [/^fail storing: the login may do more than tokenvault_store: it has SUPERUSER, /],
    },
    'the role that reads for storing': {
      environment: { ...api, STORE_DATABASE_URL: vault.urlFor('tokenvault_api') },
      code: 1,
      says: [/^fail storing: missing, or not granted to the role: .*table pii_vault.originals/],
    },
    'the role of another process for storing': {
      environment: { ...api, STORE_DATABASE_URL: vault.urlFor('tokenvault_worker') },
      code: 1,
      says: [/^fail storing: the login is not tokenvault_store$/],
    },
    'a database for storing that is not the vault’s': {
      environment: { ...api, STORE_DATABASE_URL: (await createVaultDatabase(t)).urlFor('tokenvault_store') },
      code: 1,
      says: [/^fail storing: STORE_DATABASE_URL leads to another database/],
    },
    'a URL for storing that is none': {
      environment: { ...api, STORE_DATABASE_URL: 'nowhere' },
      code: 1,
      says: [/^fail configuration: STORE_DATABASE_URL must match/, /^skip storing: STORE_DATABASE_URL is wrong$/],
    },
    'a standby': {
      environment: worker,
      spoil: `ALTER DATABASE ${vault.name} SET default_transaction_read_only = on`,
      mend: `ALTER DATABASE ${vault.name} RESET default_transaction_read_only`,
      code: 1,
      says: [
        /^fail database server: the server takes no writes/,
        /^fail database setup: default_transaction_read_only /,
      ],
    },
    'a lost grant': {
      environment: worker,
      spoil: 'REVOKE INSERT ON pii_vault.originals FROM tokenvault_worker',
      mend: 'GRANT INSERT ON pii_vault.originals TO tokenvault_worker',
      code: 1,
      says: [/^fail database setup: .*tokenvault_worker.*INSERT.*pii_vault.originals|^fail database setup: .*INSERT/],
    },
    'a grant too many': {
      environment: worker,
      spoil: 'GRANT SELECT ON pii_vault.originals TO tokenvault_worker',
      mend: 'REVOKE SELECT ON pii_vault.originals FROM tokenvault_worker',
      code: 1,
      says: [/^fail database setup: .*SELECT/],
    },
    'a missing function': {
      environment: worker,
      spoil: 'ALTER FUNCTION ingest.ensure_partitions(date[]) RENAME TO gone',
      mend: 'ALTER FUNCTION ingest.gone(date[]) RENAME TO ensure_partitions',
      code: 1,
      says: [/^fail database setup: /, /^\w+ database setup: /],
    },
    'the KEK of another vault': {
      environment: { ...worker, KEK_FILE: otherKek },
      code: 1,
      says: [/^fail keys: key audit\/\S* does not unwrap: it was wrapped by local:[0-9a-f]+, this is local:/],
    },
    'no KEK': {
      environment: { ...worker, KEK_FILE: join(directory, 'nowhere') },
      code: 1,
      says: [/^fail KEK: KEK_FILE cannot be read \(ENOENT\)$/, /^skip keys: the KEK cannot be opened$/],
    },
    'another tenant': {
      environment: { ...worker, TENANT: 'other' },
      code: 1,
      says: [/^fail keys: key .+ it was changed, or TENANT is another$/],
    },
    'a secret that others can read': {
      environment: { ...worker, DATABASE_URL: undefined, DATABASE_URL_FILE: urlFile },
      code: 0,
      says: [/^warn configuration: the file of DATABASE_URL_FILE is open to others, who can read it$/],
    },
    'wrong variables': {
      environment: { ...worker, WORKER_RECEIVERS: '0', SQS_QUEUE_URL: 'nowhere' },
      code: 1,
      says: [
        /^fail configuration: SQS_QUEUE_URL must match/,
        /^fail configuration: WORKER_RECEIVERS must be >= 1/,
        /^skip queue: a variable of the queue is missing or wrong$/,
      ],
    },
    'a field without column and keys': {
      environment: { ...worker, FIELDS_FILE: badFields },
      code: 1,
      says: [
        /^fail keys: .*email/,
        /^fail recorded fields: field email is not recorded yet: run `tokenvault migrate`/,
        /^fail columns: column masked_email of user_logins, for field email, is missing/,
      ],
    },
    'a policy that is not one': {
      environment: { ...api, POLICY_FILE: badPolicy },
      code: 1,
      says: [/^fail policy file: policy line 2, column 10: /, /^fail policy file: policy line 2, column 34: /],
    },
    'no such queue': {
      environment: { ...worker, SQS_QUEUE_URL: `${endpoint}/000000000000/nowhere` },
      code: 1,
      says: [
        /^fail queue: there is no such queue; GetQueueAttributes: /,
        /^skip dead-letter queue/,
        /^skip clock of the queue/,
      ],
    },
    'credentials that AWS does not know': {
      environment: { ...worker, AWS_ENDPOINT_URL_SQS: await answering('GetQueueAttributes', 'InvalidClientTokenId') },
      code: 1,
      says: [
        /^fail queue: AWS does not accept the credentials; /,
        /^skip dead-letter queue/,
        /^skip clock of the queue/,
      ],
    },
    'credentials that permit too little': {
      environment: { ...worker, AWS_ENDPOINT_URL_SQS: await answering('GetQueueAttributes', 'AccessDeniedException') },
      code: 1,
      says: [/^fail queue: the credentials do not permit /, /^skip dead-letter queue/, /^skip clock of the queue/],
    },
    'credentials that permit what a worker needs': {
      environment: { ...worker, AWS_ENDPOINT_URL_SQS: await answering('GetQueueUrl', 'AccessDeniedException') },
      code: 0,
      says: [/^skip dead-letter queue: these credentials may not look at the dead-letter queue/],
    },
    'a dead-letter queue that is gone': {
      environment: { ...worker, AWS_ENDPOINT_URL_SQS: await answering('GetQueueUrl', 'QueueDoesNotExist') },
      code: 1,
      says: [/^fail dead-letter queue: the redrive policy names a dead-letter queue that does not exist/],
    },
    'no server at the queue': {
      environment: { ...worker, AWS_ENDPOINT_URL_SQS: nowhere },
      code: 1,
      says: [/^fail queue: the queue cannot be reached; /, /^skip dead-letter queue/, /^skip clock of the queue/],
    },
    'no redrive policy, and a short retention': {
      environment: { ...worker, SQS_QUEUE_URL: queue('short', { MessageRetentionPeriod: '3600' }) },
      code: 0,
      says: [
        /^warn queue: the queue drops messages after 1 h/,
        /^warn dead-letter queue: the queue has no redrive policy/,
      ],
    },
    'a dead letter after the first receive, and one that waits': {
      environment: { ...worker, SQS_QUEUE_URL: queue('hasty', redrive(busyDead.queueArn, 1)) },
      code: 0,
      says: [/^warn dead-letter queue: maxReceiveCount is 1/, /^warn dead-letter queue: 1 dead letters are waiting$/],
    },
    'a dead-letter queue that forgets as fast as its source': {
      environment: {
        ...worker,
        SQS_QUEUE_URL: queue('forgetful', {
          MessageRetentionPeriod: String(4 * 86_400),
          ...redrive(dead.queueArn.replace('logins-dlq', 'with-dead')),
        }),
      },
      code: 0,
      says: [/^warn dead-letter queue: the dead-letter queue keeps messages 4 days, .+ and the queue 4 days$/],
    },
    'a clock of the queue that is off': {
      environment: { ...worker, AWS_ENDPOINT_URL_SQS: await withDate(endpoint, -7200) },
      code: 1,
      says: [/^fail clock of the queue: (2 h|1\d\d min) behind that of this host: AWS refuses/],
    },
    'an issuer that is down': {
      environment: { ...api, JWKS_URL: `${nowhere}/jwks.json` },
      code: 1,
      says: [/^fail JWKS: the JWK Set cannot be fetched: ECONNREFUSED$/, /^skip clock of the issuer/],
    },
    'an issuer that redirects': {
      environment: await issuerAt(body('', { location: jwks.url }, 302)),
      code: 1,
      says: [/^fail JWKS: the JWK Set cannot be fetched: status 302$/, /^skip clock of the issuer/],
    },
    'a page in place of keys': {
      environment: await issuerAt(body('<html>secret-canary</html>')),
      code: 1,
      says: [/^fail JWKS: the JWK Set cannot be fetched: the reply is not JSON$/, /^skip clock of the issuer/],
    },
    'one kid for two keys': {
      environment: await issuerAt(keySet(key.publicJwk, key.publicJwk)),
      code: 1,
      says: [/^fail JWKS: key 2 of the issuer has the kid of an earlier one/],
    },
    'keys that check nothing': {
      environment: await issuerAt(keySet(weak, { ...key.publicJwk, use: 'enc' })),
      code: 1,
      says: [
        /^fail JWKS: none of the 2 keys of the issuer can check a JWT: key 1 is (RSA below 2,048 bits|not a valid key)$/,
      ],
    },
    'one of two issuers that is down': {
      environment: {
        ...api,
        JWT_ISSUER: undefined,
        JWT_AUDIENCE: undefined,
        JWKS_URL: undefined,
        JWT_ISSUERS_FILE: issuersFile,
      },
      code: 1,
      says: [
        /^fail JWKS: issuer 2 of 2: the JWK Set cannot be fetched: /,
        /^skip clock of the issuer: issuer 2 of 2: /,
      ],
    },
    'a private key': {
      environment: await issuerAt(keySet(secret)),
      code: 1,
      says: [/^fail JWKS: key 1 of the issuer is a secret/, /^fail JWKS: none of the 1 keys/],
    },
    'a clock of the issuer that is off': {
      environment: await issuerAt(body(JSON.stringify({ keys: [key.publicJwk] }), { date: date(172_800) })),
      code: 1,
      says: [/^fail clock of the issuer: (2 days|4\d h) ahead of that of this host: JWTs are refused/],
    },
    'a clock of the issuer that is off, read from a cache': {
      environment: await issuerAt(body(JSON.stringify({ keys: [key.publicJwk] }), { date: date(-3600), age: '3600' })),
      code: 0,
      says: [],
    },
  }
  Object.assign(cases, {
    'checkpoints that stay in the database': {
      environment: { ...api, CHECKPOINT_URL: undefined },
      code: 0,
      says: [/^warn published checkpoints: checkpoints stay in the database/],
    },
    'a place for checkpoints that is gone': {
      environment: { ...api, CHECKPOINT_URL: 'file:///nowhere/' },
      code: 1,
      says: [/^fail published checkpoints: the published checkpoints cannot be read: ENOENT$/],
    },
    'a published checkpoint that the log has not grown out of': {
      environment: publishedAt(5),
      code: 1,
      says: [/^fail published checkpoints: the log contradicts what is published: .+ has not grown out of .+ 5$/],
    },
    'a published checkpoint of a longer log': {
      environment: publishedAt(99),
      code: 1,
      says: [/^fail published checkpoints: .+: the log has 7 events, and a checkpoint of 99$/],
    },
    'a published checkpoint of another vault': {
      environment: publishedAt(5, createNoteSigner('tokenvault/default', new Uint8Array(32).fill(7))),
      code: 1,
      says: [/^fail published checkpoints: the newest published checkpoint is not one of this vault: /],
    },
    'checkpoints that only standard output saw': {
      environment: { ...api, CHECKPOINT_URL: 'stdout:' },
      code: 0,
      says: [/^skip published checkpoints: what goes to standard output/],
    },
  } satisfies typeof cases)
  for (const [name, { environment, code, says, spoil, mend }] of Object.entries(cases)) {
    if (spoil !== undefined) await admin.query(spoil)
    const only = 'JWKS_URL' in environment ? 'api' : 'worker'
    const found = await examineJson(t, environment, ['--only', only])
    if (mend !== undefined) await admin.query(mend)
    t.equal(found.code, code, name)
    t.equal(found.wrong.length, says.length, `${name}: ${found.wrong.join('\n')}`)
    for (const [place, pattern] of says.entries()) t.match(found.wrong[place] ?? '', pattern, name)
    t.notMatch(found.wrong.join('\n'), /secret-canary/)
  }
})
