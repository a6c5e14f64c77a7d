import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { type Environment, loadConfig, storeDatabaseUrl } from '../../src/config/load.ts'
import { type ProcessName, variables, variablesOf } from '../../src/config/variables.ts'
import { TokenvaultError } from '../../src/errors.ts'

const database = 'postgres://worker:hunter2@db.test/vault'
const worker = { DATABASE_URL: database, KEK_FILE: '/run/kek', SQS_QUEUE_URL: 'http://localhost:9324/q' }
const api = {
  DATABASE_URL: database,
  KEK_FILE: '/run/kek',
  JWT_ISSUER: 'https://issuer.test',
  JWT_AUDIENCE: 'tokenvault',
  JWKS_URL: 'https://issuer.test/jwks',
}

/** The problems of an environment, one a line. */
function problems(processName: ProcessName, environment: Environment): string[] {
  try {
    loadConfig(processName, environment)
    return []
  } catch (error) {
    if (!(error instanceof TokenvaultError) || error.code !== 'config_invalid') throw error
    const lines = error.message.split('\n')
    if (lines.length === 1) return lines
    // Many problems stand one a line, below a line that counts them.
    t.equal(lines[0], `${lines.length - 1} problems:`)
    return lines.slice(1).map(line => line.trimStart())
  }
}

t.test('what is set is read, the rest has defaults, numbers are numbers', async t => {
  t.same(loadConfig('worker', { ...worker, DATABASE_POOL_MAX: '3', PATH: '/bin', AWS_SECRET_ACCESS_KEY: 'x' }), {
    ...worker,
    DATABASE_POOL_MAX: 3,
    TENANT: 'default',
    KEK_PROVIDER: 'local',
    SQS_PROTOCOL: 'json',
    WORKER_RECEIVERS: 4,
    WORKER_BATCH_MESSAGES: 1000,
    WORKER_BATCH_MILLISECONDS: 250,
    WORKER_VISIBILITY_TIMEOUT_SECONDS: 60,
    METRICS_HOST: '127.0.0.1',
    LOG_LEVEL: 'info',
  })
  t.match(loadConfig('api', { ...api, PORT: '0' }), { PORT: 0, HOST: '127.0.0.1', JWT_ALGORITHMS: 'ES256,RS256' })
  t.notOk('SQS_QUEUE_URL' in loadConfig('api', { ...api, ...worker }), 'each process gets its own variables only')
})

t.test('the result cannot be changed', async t => {
  const config = loadConfig('worker', worker)
  t.ok(Object.isFrozen(config))
  t.throws(() => Object.assign(config, { TENANT: 'other' }), TypeError)
})

t.test('one issuer is named by variables, or several by a file, and never both', async t => {
  const { JWT_ISSUER: _1, JWT_AUDIENCE: _2, JWKS_URL: _3, ...rest } = api
  const JWT_ISSUERS_FILE = '/run/issuers.yaml'
  t.match(loadConfig('api', { ...rest, JWT_ISSUERS_FILE }), { JWT_ISSUERS_FILE, JWT_ALGORITHMS: 'ES256,RS256' })
  t.match(problems('api', { ...api, JWT_ISSUERS_FILE, JWT_CLIENT_IDS: 'a' }), [
    /^JWT_ISSUER and JWT_ISSUERS_FILE are both set/,
    /^JWT_AUDIENCE and JWT_ISSUERS_FILE are both set/,
    /^JWKS_URL and JWT_ISSUERS_FILE are both set/,
    /^JWT_CLIENT_IDS and JWT_ISSUERS_FILE are both set/,
  ])
})

t.test('an empty text is a variable that is not set', async t => {
  t.match(loadConfig('worker', { ...worker, TENANT: '', DATABASE_POOL_MAX: '', DATABASE_URL_FILE: '' }), {
    TENANT: 'default',
    DATABASE_POOL_MAX: 10,
    DATABASE_URL: database,
  })
  t.match(problems('worker', { ...worker, DATABASE_URL: '' }), [/^DATABASE_URL is not set/])
})

t.test('every problem is told at once', async t => {
  t.match(problems('api', {}), [
    /^DATABASE_URL is not set \(Postgres/,
    /^KEK_FILE is not set/,
    /^JWT_ISSUER is not set/,
    /^JWT_AUDIENCE is not set/,
    /^JWKS_URL is not set/,
  ])
  const found = problems('migrate', {
    DATABASE_URL: 'mysql://root:hunter2@db',
    DATABASE_POOL_MAX: 'many',
    TENANT: 'Not A Tenant',
    KEK_PROVIDER: 'paper',
    LOG_LEVEL_FILE: '/nowhere/at/all',
    ROLE_PASSWORDS_DIR: '/nowhere/either',
  })
  const names = ['DATABASE_URL ', 'DATABASE_POOL_MAX', 'TENANT', 'KEK_PROVIDER', 'LOG_LEVEL_FILE', 'ROLE_PASSWORDS_DIR']
  for (const name of names) t.equal(found.filter(text => text.startsWith(name)).length, 1, name)
  t.equal(found.length, names.length)
})

t.test('no value stands in the message', async t => {
  const secret = 'hunter2'
  const wrong = Object.fromEntries([...variablesOf('api').keys()].map(name => [name, `${secret} ${name}`]))
  const found = problems('api', { ...wrong, DATABASE_URL_FILE: `/${secret}`, JWKS_URL_FILE: `/${secret}/jwks` }).join()
  t.match(found, 'DATABASE_URL and DATABASE_URL_FILE are both set; keep one')
  t.notMatch(found, secret)
})

t.test('wrong URLs, numbers and words are refused by name', async t => {
  const wrong: [ProcessName, string, readonly string[]][] = [
    [
      'worker',
      'DATABASE_URL',
      [
        'db.test',
        'http://db.test',
        'postgres:db',
        ' postgres://db',
        'postgres://worker:hunter2@db:99999/vault',
        'postgres://worker:hunter2%E9@db/vault',
        'postgres://worker:100%@db/vault',
      ],
    ],
    ['worker', 'SQS_QUEUE_URL', ['queue', 'ftp://queue', 'sqs://queue', 'https://']],
    ['worker', 'AWS_ENDPOINT_URL', ['localhost:4566', 'http://']],
    ['worker', 'AWS_ENDPOINT_URL_SQS', ['localhost:9324', 'http://', 'http://localhost:port']],
    [
      'worker',
      'DATABASE_POOL_MAX',
      ['0', '-1', '201', '1.5', 'ten', '1,0', 'NaN', 'Infinity', 'true', '0x10', '1e1', ' 5', '5 '],
    ],
    ['worker', 'WORKER_BATCH_MESSAGES', ['0', '10001']],
    ['worker', 'WORKER_VISIBILITY_TIMEOUT_SECONDS', ['9', '43201']],
    ['worker', 'METRICS_PORT', ['-1', '65536', 'http']],
    ['worker', 'TENANT', ['Upper', '-a', 'a b', 'a'.repeat(64), 'a/b', 'a\0b', 'é']],
    ['worker', 'KEK_PROVIDER', ['Local', 'aws']],
    ['worker', 'LOG_LEVEL', ['trace', 'silent', 'INFO']],
    ['api', 'PORT', ['-1', '65536', 'http']],
    ['api', 'JWKS_URL', ['file:///etc/passwd', 'issuer.test', 'http://']],
    [
      'api',
      'TRUST_PROXY',
      [
        'yes',
        '10.0.0.0/33',
        '10.0.0.0/0',
        '10.0.0.0/',
        '10.0.0/8',
        '::/129',
        '10.0.0.1,',
        '10.0.0.1, ::1',
        'fe80::1%lo',
      ],
    ],
    ['api', 'JWT_ALGORITHMS', ['HS256', 'none', 'RS256,HS256', 'RS256, ES256', 'RS256,', 'rs256']],
    ['api', 'JWT_MAX_LIFETIME_SECONDS', ['59', '86401']],
    ['api', 'JWT_CLOCK_TOLERANCE_SECONDS', ['-1', '301', '0.5']],
    ['api', 'JWT_TYP', ['JWT', 'AT+JWT']],
    ['api', 'JWT_SUBJECT_CASE', ['lower']],
    ['api', 'JWT_AUDIENCE', [',', 'a,', ',a', 'a, b', ' a', 'a,,b']],
    ['api', 'JWT_CLIENT_IDS', ['a,', 'a ,b']],
  ]
  for (const [processName, name, values] of wrong) {
    const right = processName === 'api' ? api : worker
    for (const value of values) {
      const found = problems(processName, { ...right, [name]: value })
      t.ok(found.length === 1 && found[0]?.startsWith(`${name} `), `${name}=${JSON.stringify(value)}: ${found}`)
    }
  }
})

t.test('addresses, networks and unusual URLs that are right are taken', async t => {
  const right: [ProcessName, string, string][] = [
    ['api', 'TRUST_PROXY', '10.0.0.0/8,192.0.2.1,::1,2001:db8::/32'],
    ['api', 'JWKS_URL', 'http://[::1]:3001/keys?set=1'],
    ['worker', 'DATABASE_URL', 'postgres://worker:p%40ss@db:5432/vault?sslmode=require'],
    ['worker', 'DATABASE_URL', 'postgres://worker@/vault?host=/run/postgresql'],
    ['worker', 'DATABASE_URL', 'postgres:///vault'],
  ]
  for (const [processName, name, value] of right) {
    t.same(problems(processName, { ...(processName === 'api' ? api : worker), [name]: value }), [], value)
  }
})

t.test('NAME_FILE', async t => {
  const folder = t.testdir({
    url: `${database}\n`,
    crlf: `${database}\r\n`,
    bare: database,
    two: `${database}\n\n`,
    empty: '\n',
  })
  const { DATABASE_URL: _, ...rest } = worker
  for (const name of ['url', 'crlf', 'bare']) {
    t.equal(loadConfig('worker', { ...rest, DATABASE_URL_FILE: join(folder, name) }).DATABASE_URL, database, name)
  }
  t.equal(
    loadConfig('worker', { ...rest, DATABASE_URL_FILE: join(folder, 'two') }).DATABASE_URL,
    `${database}\n`,
    'one newline is dropped',
  )
  t.match(problems('worker', { ...rest, DATABASE_URL_FILE: join(folder, 'empty') }), [/^DATABASE_URL is not set/])
  t.same(
    problems('worker', { ...rest, DATABASE_URL_FILE: join(folder, 'missing') }),
    ['DATABASE_URL_FILE cannot be read (ENOENT)'],
    'one problem, not two',
  )
  t.same(problems('worker', { ...rest, DATABASE_URL_FILE: folder }), ['DATABASE_URL_FILE cannot be read (EISDIR)'])
  t.same(
    problems('worker', { ...worker, DATABASE_URL_FILE: join(folder, 'url') }),
    ['DATABASE_URL and DATABASE_URL_FILE are both set; keep one'],
    'both set is a mistake, even where they agree',
  )
})

t.test('the URL for storing is read again for each session, and named where it is wrong', async t => {
  const path = join(t.testdir({ store: `${database}\n` }), 'store')
  const config = loadConfig('api', { ...api, STORE_DATABASE_URL_FILE: path })
  const read = storeDatabaseUrl(config)!
  t.equal(read(), database)
  writeFileSync(path, `${database}?rotated\n`)
  t.equal(read(), `${database}?rotated`)
  writeFileSync(path, '')
  t.throws(read, { code: 'store_unavailable', message: /^STORE_DATABASE_URL_FILE is empty/ })
  writeFileSync(path, 'canary')
  t.throws(read, { code: 'store_misconfigured', message: /^STORE_DATABASE_URL_FILE must match/ })
  t.equal(storeDatabaseUrl(loadConfig('api', api)), undefined)
  t.match(problems('api', { ...api, STORE_DATABASE_URL: 'mysql://x' }), [/^STORE_DATABASE_URL must match/])
  t.notOk('STORE_DATABASE_URL' in loadConfig('worker', { ...worker, STORE_DATABASE_URL: database }), 'of the API alone')
})

t.test('KEK_FILE is the path of the key itself and is not read here', async t => {
  const path = join(t.testdir({ kek: '32 bytes, or so it is hoped here' }), 'kek')
  t.equal(loadConfig('worker', { ...worker, KEK_FILE: path }).KEK_FILE, path)
  const { KEK_FILE: _, ...rest } = worker
  t.match(problems('worker', { ...rest, KEK_FILE_FILE: path }), [/^KEK_FILE is not set/])
})

t.test('ROLE_PASSWORDS_DIR must be a directory', async t => {
  const folder = t.testdir({ file: '' })
  const migrate = { DATABASE_URL: database, KEK_FILE: '/run/kek' }
  t.equal(loadConfig('migrate', { ...migrate, ROLE_PASSWORDS_DIR: folder }).ROLE_PASSWORDS_DIR, folder)
  t.same(problems('migrate', { ...migrate, ROLE_PASSWORDS_DIR: join(folder, 'file') }), [
    'ROLE_PASSWORDS_DIR is not a directory',
  ])
})

t.test('every variable is described, for the page and for the message', async t => {
  for (const [name, { description }] of Object.entries(variables)) t.match(description, /^[A-Z].{8,}/, name)
})

t.test('checkpoints go to places that are plainly named', async t => {
  const good = ['stdout:', 'file:///var/lib/checkpoints/', 's3://evidence', 's3://evidence.bucket/vault/a']
  for (const url of good) t.match(loadConfig('api', { ...api, CHECKPOINT_URL: url }), { CHECKPOINT_URL: url })
  const bad = [
    'stdout:x',
    'file://host/directory',
    'file:directory',
    'https://evidence/',
    's3://key:hunter2@evidence/',
    's3://evidence:443/',
    's3://Evidence/',
    's3://evidence/?versionId=1',
    's3://evidence/a#b',
    's3://evidence/%zz',
    '/var/lib/checkpoints',
  ]
  for (const url of bad) {
    const [problem] = problems('api', { ...api, CHECKPOINT_URL: url })
    t.match(problem, /^CHECKPOINT_URL /, url)
    t.notMatch(problem, /hunter2/)
  }
  t.match(loadConfig('api', api), { CHECKPOINT_SECONDS: 60 })
})

t.test('the approval webhook has both its address and its secret, or neither', async t => {
  const url = 'https://hooks.test/approvals'
  const secret = `whsec_${Buffer.alloc(32, 7).toString('base64')}`
  t.match(loadConfig('api', { ...api, APPROVAL_WEBHOOK_URL: url, APPROVAL_WEBHOOK_SECRET: secret }), {
    APPROVAL_WEBHOOK_URL: url,
    APPROVAL_WEBHOOK_SECRET: secret,
  })
  const refused = (change: Environment) => problems('api', { ...api, ...change })
  t.match(refused({ APPROVAL_WEBHOOK_URL: url }), [/^APPROVAL_WEBHOOK_SECRET is not set/])
  t.match(refused({ APPROVAL_WEBHOOK_SECRET: secret }), [/^APPROVAL_WEBHOOK_URL is not set/])
  const both = { APPROVAL_WEBHOOK_URL: url, APPROVAL_WEBHOOK_SECRET: secret }
  t.match(refused({ ...both, APPROVAL_WEBHOOK_SECRET: 'hunter2' }), [/^APPROVAL_WEBHOOK_SECRET must match/])
  t.match(refused({ ...both, APPROVAL_WEBHOOK_SECRET: 'whsec_c2hvcnQ=' }), [/^APPROVAL_WEBHOOK_SECRET must match/])
  t.match(refused({ ...both, APPROVAL_WEBHOOK_URL: 'https://u:p@hooks.test/' }), [
    /^APPROVAL_WEBHOOK_URL holds a login/,
  ])
  t.match(refused({ ...both, APPROVAL_WEBHOOK_URL: 'https://' }), [/^APPROVAL_WEBHOOK_URL is not a URL/])
  t.strictSame(refused({ APPROVAL_WEBHOOK_SECRET_FILE: '/nowhere/at/all' }), [
    'APPROVAL_WEBHOOK_SECRET_FILE cannot be read (ENOENT)',
  ])
})
