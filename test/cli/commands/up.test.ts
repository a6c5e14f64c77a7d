import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, readlinkSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { developmentAudience, embeddedDatabaseUrl } from '../../../src/cli/local/state.ts'
import { signWithDataDir } from '../../../src/embedded/issuer.ts'
import { startPostgres } from '../../../src/embedded/postgres.ts'
import { startSqs } from '../../../src/embedded/sqs.ts'
import { createLog } from '../../../src/log.ts'
import { createSqsQueue } from '../../../src/queue/sqs-queue.ts'
import { type Command, runCommand, startCommand } from '../../helpers/cli/cli.ts'
import { findPlaintext, holdsAny } from '../../helpers/cli/find-plaintext.ts'
import { temporaryDirectory } from '../../helpers/embedded/embedded-directory.ts'
import { until } from '../../helpers/faults/plan.ts'
import { fetchCalmly } from '../../helpers/http/http-app.ts'
import { connectTo } from '../../helpers/postgres/vault-database.ts'
import { sampleInput } from '../../helpers/vault/login-input.ts'

const sampleFields = fileURLToPath(new URL('../../../deploy/fields.yaml', import.meta.url))

t.test(
  'a newcomer’s first minute: rows masked, one value given back, everything stops',
  { timeout: 150_000 },
  async t => {
    const dataDir = temporaryDirectory(t)
    const up = startCommand(t, ['up', '--port', '0', '--data-dir', dataDir])
    const welcome = await readWelcome(up, dataDir)
    t.match(welcome.text, /masked_ip +masked_device_id +locale +app_v… +create_da…\n(?:.* device_id_v1_\S+… .*\n){5}\n/)
    t.match(welcome.text, `  state, logs    ${dataDir}\n`)
    t.notMatch(welcome.text, /eyJ|:\/\/\w+:\w/, 'no JWT and no password')

    const reply = await detokenize(welcome, welcome.jwts.get('investigator')!, [welcome.token])
    t.equal(reply.status, 200)
    t.match(reply.body, { results: [{ field: 'ip', value: /^[0-9a-f.:]+$/ }] })
    t.equal((await detokenize(welcome, welcome.jwts.get('analyst')!, [welcome.token])).status, 403)
    t.equal((await detokenize(welcome, welcome.jwts.get('auditor')!, [welcome.token])).status, 403)
    t.match(await (await fetch(`${welcome.apiUrl}/`)).text(), /swagger-ui/, 'the page that the welcome names')
    t.equal((await fetch(`${welcome.apiUrl}/openapi.json`)).status, 200)
    t.equal((await fetch(`${welcome.apiUrl}/readyz`)).status, 200)

    const fromShell = await runCommand(t, [
      'detokenize',
      welcome.token,
      '--purpose',
      'fraud_investigation',
      '--data-dir',
      dataDir,
    ])
    t.equal(fromShell.code, 0)
    t.equal(fromShell.stdout, `${welcome.token}\t${reply.body.results[0]!.value}\n`)

    const verified = await runCommand(t, ['audit', 'verify', '--data-dir', dataDir])
    t.match(verified, { code: 0, stdout: /^log +tokenvault\/default\n[\s\S]*\nintact\n$/ })

    const second = await runCommand(t, ['up', '--port', '0', '--data-dir', dataDir])
    t.equal(second.code, 2)
    t.match(second.stderr, /^tokenvault: already_running: /)

    t.equal(statSync(dataDir).mode & 0o777, 0o700)
    for (const file of [
      'kek',
      'issuer.jwk',
      'postgres-password',
      'tokenvault.log',
      'running.json',
      'passwords/tokenvault_api',
      'pgpass',
      'urls/tokenvault_analyst',
    ]) {
      t.equal(statSync(join(dataDir, file)).mode & 0o777, 0o600, file)
    }
    // As when a terminal sends Ctrl-C to all and npm passes it on.
    up.process.kill('SIGINT')
    up.process.kill('SIGINT')
    t.strictSame(await up.ended, { code: 0, signal: null })
    t.equal(existsSync(join(dataDir, 'postgres', 'postmaster.pid')), false, 'Postgres has stopped')
    t.ok(
      readdirSync(join(dataDir, 'checkpoints')).includes('0000000000000004.note'),
      'each call is in the last checkpoint',
    )
    const told = up.stderr().split('\n')
    t.strictSame(told.slice(0, 3).sort(), ['Postgres ready', 'issuer ready', 'queue ready'])
    t.strictSame(told.slice(3), ['migrations ready', 'API ready', 'worker ready', ''])
  },
)

t.test(
  'kill -9 of everything’s parent: the next start finds data, keys and the messages still queued',
  { timeout: 150_000 },
  async t => {
    const dataDir = temporaryDirectory(t)
    const first = startCommand(t, ['up', '--port', '0', '--data-dir', dataDir])
    const before = await readWelcome(first, dataDir)
    const value = (await detokenize(before, before.jwts.get('investigator')!, [before.token])).body.results[0]!.value
    first.process.kill('SIGKILL')
    await first.ended

    // Without a worker there is nobody to take this message before the next start.
    const queueServer = await startSqs({ dataDir, port: 0 })
    const queue = createSqsQueue({
      queueUrl: queueServer.queueUrl,
      endpoint: queueServer.endpoint,
      region: 'us-east-1',
      credentials: { accessKeyId: 'x', secretAccessKey: 'x' },
      log: createLog('fatal'),
    })
    await queue.send([
      JSON.stringify({ user_id: 'u', app_version: '1', device_type: 'ios', ip: value, device_id: 'late-device' }),
    ])
    queue.close()
    await queueServer.stop()

    const drained = await runCommand(t, ['up', '--drain', '--json', '--port', '0', '--data-dir', dataDir])
    t.equal(drained.code, 0, drained.stderr)
    t.match(JSON.parse(drained.stdout), { received: 1, stored: 1, quarantined: 0 })

    const second = startCommand(t, ['up', '--port', '0', '--data-dir', dataDir])
    const after = await readWelcome(second, dataDir)
    const again = await detokenize(after, before.jwts.get('investigator')!, [before.token])
    t.equal(again.status, 200, 'a JWT of the earlier start is still good')
    t.equal(again.body.results[0]!.value, value)
    second.process.kill('SIGTERM')
    t.equal((await second.ended).code, 0)
  },
)

t.test('canary: originals stand nowhere but in replies', { timeout: 150_000 }, async t => {
  const dataDir = temporaryDirectory(t)
  const input = sampleInput(temporaryDirectory(t))
  const policy = join(dataDir, 'policy.yaml')
  writeFileSync(
    policy,
    'version: 1\nroles: { investigator: { reveal: { "*": full }, tokenize: ["*"], purposes: ["*"] } }\n',
  )
  const values = [...input.logins.flatMap(({ ip, device_id }) => [ip, device_id]), 'canary-no-event-7f3a']
  const up = startCommand(t, ['up', '--port', '0', '--data-dir', dataDir, '--input', input.path, '--policy', policy], {
    LOG_LEVEL: 'debug',
  })
  const welcome = await readWelcome(up, dataDir)
  const jwt = welcome.jwts.get('investigator')!
  const tokenized = await call(welcome, '/v1/tokenize', jwt, {
    purpose: 'canary_test',
    values: input.logins.flatMap(({ ip, device_id }) => [
      { field: 'ip', value: ip },
      { field: 'device_id', value: device_id },
    ]),
  })
  t.equal(tokenized.status, 200)
  const tokens = tokenized.body.results.map(({ token }) => token)
  const revealed = await detokenize(welcome, jwt, tokens)
  const given = revealed.body.results.map(({ value }) => value)
  t.strictSame(
    given,
    input.logins.flatMap(({ ip, device_id }) => [ip, device_id]),
    'every value comes back, in order',
  )

  // Values where they do not belong: whatever is said about them must not repeat them.
  const canary = input.logins[0]!.device_id
  const wrong: [string, unknown][] = [
    ['/v1/detokenize', { purpose: canary, tokens: [tokens[0]] }],
    ['/v1/detokenize', { purpose: 'canary_test', tokens: [tokens[0]], [canary]: 1 }],
    ['/v1/tokenize', { purpose: 'canary_test', values: [{ field: canary, value: canary, extra: canary }] }],
    ['/v1/tokenize', { purpose: 'canary_test', values: [{ field: 'ip', value: canary }] }],
    [`/v1/${canary}`, {}],
    [`/v1/detokenize?q=${canary}`, { purpose: 'canary_test', tokens: [] }],
  ]
  for (const [path, body] of wrong) {
    const reply = await call(welcome, path, jwt, body, { 'x-request-id': canary, 'user-agent': canary })
    t.notOk(holdsAny(Buffer.from(JSON.stringify(reply.body)), values), `${path}: ${reply.status}`)
  }
  const some = [...values.slice(0, 2), ...values.slice(-2)]
  await until('no file holds what was stored, while everything runs', () => findPlaintext(dataDir, some).length === 0)
  up.process.kill('SIGINT')
  t.equal((await up.ended).code, 0)
  t.notOk(holdsAny(Buffer.from(up.stdout() + up.stderr()), values), 'the terminal')
  t.strictSame(findPlaintext(dataDir, values), [], 'logs, Postgres with its WAL, the queue’s storage')
  t.match(
    readFileSync(join(dataDir, 'tokenvault.log'), 'utf8'),
    /"route":"\/v1\/detokenize"/,
    'there was a log to look into',
  )
})

t.test(
  'a wrong key-encryption key: refused, and the key that does not unwrap is named',
  { timeout: 150_000 },
  async t => {
    const dataDir = temporaryDirectory(t)
    const args = ['up', '--drain', '--json', '--port', '0', '--data-dir', dataDir]
    t.equal((await runCommand(t, args)).code, 0)
    writeFileSync(join(dataDir, 'kek'), Buffer.alloc(32, 7))
    const refused = await runCommand(t, args)
    t.equal(refused.code, 2)
    t.match(refused.stderr, /^tokenvault: kek_mismatch: key audit\/\/v1 does not unwrap/)
    t.equal(refused.stdout, '')
    const postgres = await startPostgres({ dataDir, port: 0 })
    await postgres.stop()
  },
)

t.test(
  'nothing in the shell but LOG_LEVEL matters, and two started together share no port',
  { timeout: 120_000 },
  async t => {
    const shell = {
      AWS_PROFILE: 'nowhere',
      AWS_REGION: 'elsewhere',
      AWS_ENDPOINT_URL: 'http://127.0.0.1:1',
      DATABASE_URL: 'mysql://elsewhere',
      DATABASE_POOL_MAX: 'many',
      FIELDS_FILE: 'nowhere',
      POLICY_FILE: 'nowhere',
      TENANT: 'Not A Tenant',
      TRUST_PROXY: 'yes',
    }
    const input = sampleInput(temporaryDirectory(t))
    const drains = await Promise.all(
      [1, 2].map(() => {
        const args = ['up', '--drain', '--json', '--input', input.path, '--data-dir', temporaryDirectory(t)]
        return runCommand(t, args, shell)
      }),
    )
    for (const { code, stdout, stderr } of drains) {
      t.equal(code, 0, stderr)
      t.match(JSON.parse(stdout), { received: 100, stored: 99 })
    }
    const [plain, full] = [1, 2].map(number => join(temporaryDirectory(t), `it's ${number}`)) as [string, string]
    const none = await runCommand(t, ['status', '--data-dir', full], shell)
    t.match(none, { code: 1, stdout: '', stderr: /^tokenvault: not_running: [^\n]+ `npm start`[^\n]+\n$/ })
    const [policy, fields] = [join(temporaryDirectory(t), 'policy.yaml'), join(temporaryDirectory(t), 'fields.yaml')]
    writeFileSync(policy, 'version: 1\nroles: { typist: { tokenize: [email], purposes: ["*"] } }\n')
    writeFileSync(fields, 'version: 1\nfields: [{ name: email, rule: email.v1, column: masked_email }]\n')
    const options = ['--policy', policy, '--fields', fields, '--metrics', '0', '--processes', '2']
    const ups = [
      startCommand(t, ['up', '--fields', sampleFields, '--data-dir', plain], shell),
      startCommand(t, ['up', '--no-sample', '--data-dir', full, ...options], shell),
    ]
    const ports = await Promise.all(
      ups.map(async up => (await up.printed(/^ {2}API +(\S+)\n[\s\S]*see this again.*\n/m))[1]!),
    )
    t.not(ports[0], ports[1])
    const analyst = await connectTo(t, embeddedDatabaseUrl(plain, 'tokenvault_analyst')!)
    const counts =
      'SELECT (SELECT count(*) FROM user_logins) AS rows, (SELECT count(*) FROM analyst.login_details) AS details'
    const { rows } = await analyst.query(
      `${counts}, (SELECT count(*) FROM user_logins JOIN analyst.ip_networks USING (masked_ip) WHERE masked_network ~ '^network_v1_') AS networks`,
    )
    t.ok(Number(rows[0].rows) > 0)
    t.same(
      rows[0],
      { rows: rows[0].rows, details: rows[0].rows, networks: rows[0].rows },
      'deploy/fields.yaml has all of it on',
    )
    await checkStatus(t, full, { policyFile: policy, fieldsFile: fields, apiUrl: ports[1]! })
    for (const { process } of ups) process.kill('SIGINT')
    for (const { ended } of ups) t.equal((await ended).code, 0)
  },
)

t.test('a drain that is interrupted says so, is no success, and leaves no Postgres', { timeout: 150_000 }, async t => {
  const dataDir = temporaryDirectory(t)
  const input = sampleInput(temporaryDirectory(t))
  const drain = startCommand(t, ['up', '--drain', '--json', '--input', input.path, '--data-dir', dataDir])
  await appears(dataDir, /^postgres\.new-/)
  drain.process.kill('SIGINT')
  t.match(await drain.ended, { code: 1 })
  t.match(drain.stderr(), /^\nstopping …\ntokenvault: stopped: the queue is not drained/)
  t.equal(existsSync(join(dataDir, 'postgres', 'postmaster.pid')), false)
  const next = await runCommand(t, ['up', '--drain', '--json', '--data-dir', dataDir])
  t.match(JSON.parse(next.stdout), { received: 0 }, 'nothing was sent after the interruption')
})

const isLinux = process.platform === 'linux'
t.test(
  'who does not wait for a first start to stop leaves no process of it behind',
  { timeout: 150_000, skip: !isLinux && 'looks into /proc' },
  async t => {
    const dataDir = temporaryDirectory(t)
    const up = startCommand(t, ['up', '--port', '0', '--data-dir', dataDir])
    const halfMade = join(dataDir, await appears(dataDir, /^postgres\.new-.{6}$/))
    // Held, so that the start cannot end by itself.
    while (initdbsIn(halfMade).length === 0) await nextTurn()
    for (const pid of initdbsIn(halfMade)) process.kill(pid, 'SIGSTOP')
    up.process.kill('SIGINT')
    await up.printed(/stopping …/)
    const again = setInterval(() => up.process.kill('SIGINT'), 100)
    t.teardown(() => clearInterval(again))
    t.match(await up.ended, { code: 130 })
    while (initdbsIn(halfMade).length > 0) await nextTurn()
    t.pass('initdb has ended')
  },
)

/** What `status` says of an `up` with every option, and that each of them has its effect. */
async function checkStatus(t: Test, dataDir: string, expected: object): Promise<void> {
  const ask = async (...args: string[]) => (await runCommand(t, [...args, '--data-dir', dataDir])).stdout
  const status = JSON.parse(await ask('status', '--json'))
  t.match(status, { ...expected, dataDir })
  t.match(await (await fetch(status.metricsUrl)).text(), /^tokenvault_ingest_worker_processes\S* 2$/m)

  const lines = await ask('status', '--env')
  const url = readFileSync(status.analystUrlFile, 'utf8').trim()
  t.notMatch(lines + JSON.stringify(status), new URL(url).password, 'no secret')
  const shell = `${lines}printf '%s\\n' "$ANALYST_URL_FILE" "$PGPASSFILE" "$TOKENVAULT_URL" "$METRICS_URL"`
  t.strictSame(spawnSync('sh', ['-c', shell], { encoding: 'utf8' }).stdout.split('\n').slice(0, 4), [
    status.analystUrlFile,
    status.passwordFile,
    status.apiUrl,
    status.metricsUrl,
  ])
  const { hostname, port, pathname, username, password } = new URL(url)
  const login = `${hostname}:${port}:${pathname.slice(1)}:${username}:${password}\n`
  t.ok(readFileSync(status.passwordFile, 'utf8').includes(login), 'libpq finds the password')

  const jwt = (await ask('jwt', '--role', 'typist', '--sub', 'somebody')).trim()
  const welcome = { text: '', apiUrl: status.apiUrl, token: '', jwts: new Map() }
  const values = [{ field: 'email', value: 'somebody@example.org' }]
  const reply = await call(welcome, '/v1/tokenize', jwt, { purpose: 'mail_merge', values })
  t.match(reply, { status: 200, body: { results: [{ token: /^email_v1_/ }] } })
  const client = await connectTo(t, url)
  t.same((await client.query('SELECT masked_email FROM user_logins')).rows, [])
  await client.end()
}

/** The name of an entry of the directory, once there is one that matches. */
async function appears(directory: string, pattern: RegExp): Promise<string> {
  for (;;) {
    const found = readdirSync(directory).find(name => pattern.test(name))
    if (found !== undefined) return found
    await nextTurn()
  }
}

function initdbsIn(directory: string): number[] {
  const isThere = (pid: string) => {
    try {
      const isHere = readlinkSync(`/proc/${pid}/cwd`) === directory
      return isHere && readFileSync(`/proc/${pid}/comm`, 'utf8') === 'initdb\n'
    } catch {
      return false
    }
  }
  return readdirSync('/proc').filter(isThere).map(Number)
}

/** What the tests read of replies; absent where the reply was a problem. */
interface Body {
  readonly results: readonly { readonly token: string; readonly value: string }[]
}

interface WelcomeText {
  readonly text: string
  readonly apiUrl: string
  readonly token: string
  readonly jwts: ReadonlyMap<string, string>
}

async function readWelcome(up: Command, dataDir: string): Promise<WelcomeText> {
  await up.printed(/see this again +\S.*\n/)
  const text = up.stdout()
  const jwts = await Promise.all(
    ['analyst', 'investigator', 'auditor'].map(async role => {
      const claims = { subject: `dev-${role}`, roles: [role], lifetimeSeconds: 3600 }
      return [role, await signWithDataDir(dataDir, developmentAudience, claims)] as const
    }),
  )
  return {
    text,
    apiUrl: /^ {2}API +(\S+)$/m.exec(text)![1]!,
    token: /detokenize .*\\\n +(\S+)/.exec(text)?.[1] ?? '',
    jwts: new Map(jwts),
  }
}

function detokenize(welcome: WelcomeText, jwt: string, tokens: readonly string[]) {
  return call(welcome, '/v1/detokenize', jwt, { purpose: 'fraud_investigation', tokens })
}

async function call(
  welcome: WelcomeText,
  path: string,
  jwt: string,
  body: unknown,
  headers: Record<string, string> = {},
) {
  const response = await fetchCalmly(welcome.apiUrl + path, {
    method: 'POST',
    headers: { authorization: `Bearer ${jwt}`, 'content-type': 'application/json', ...headers },
    body: JSON.stringify(body),
  })
  return { status: response.status, body: (await response.json()) as Body }
}
