import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { text } from 'node:stream/consumers'
import { fileURLToPath, pathToFileURL } from 'node:url'
import pg from 'pg'
import t from 'tap'
import { makeSecrets } from '../../deploy/make-secrets.ts'
import { startIssuer } from '../../src/embedded/issuer.ts'
import { startPostgres } from '../../src/embedded/postgres.ts'
import { startSqs } from '../../src/embedded/sqs.ts'
import { createSqsQueue } from '../../src/queue/sqs-queue.ts'
import { temporaryDirectory } from '../helpers/embedded/embedded-directory.ts'
import { createTestLog } from '../helpers/queue/server.ts'

// The processes of docker-compose.yml with its secrets, as it runs them, on servers of this machine.

const tokenvault = fileURLToPath(new URL('../../src/cli/tokenvault.js', import.meta.url))
const audience = 'tokenvault'
const address = '203.0.113.7'
const event = { user_id: 'u1', app_version: '2.3.0', device_type: 'ios', ip: address, locale: 'FR', device_id: 'd-1' }

type Environment = Readonly<Record<string, string>>

function start(args: readonly string[], environment: Environment): ChildProcess {
  const pairs = Object.entries(environment).map(([name, value]) => `${name}=${value}`)
  // `env -i`, because tap makes every child one of its own.
  const child = spawn('env', ['-i', ...pairs, process.execPath, tokenvault, ...args], { cwd: '/' })
  t.teardown(() => child.kill('SIGKILL'))
  return child
}

async function run(args: readonly string[], environment: Environment = {}) {
  const child = start(args, environment)
  const [out, err, [code]] = await Promise.all([text(child.stdout!), text(child.stderr!), once(child, 'close')])
  return { code, out, err }
}

/** Starts a process that stays, and waits for the event that its log tells. */
async function startUntil(event: string, args: readonly string[], environment: Environment) {
  const child = start(args, environment)
  const ended = once(child, 'close')
  const log = createInterface({ input: child.stderr! })
  for await (const line of log) {
    const entry = JSON.parse(line)
    if (entry.event !== event) continue
    log.close()
    child.stderr!.resume()
    const stop = async () => {
      child.kill('SIGTERM')
      const [out, [code, signal]] = await Promise.all([text(child.stdout!), ended])
      return { code, signal, out }
    }
    return { entry, stop }
  }
  throw new Error(`${args[0]} ended before ${event}`)
}

/** A Postgres, a queue and an issuer as compose would have them, and each process's environment. */
async function startWorld() {
  const root = temporaryDirectory(t)
  const [postgres, sqs, issuer] = await Promise.all([
    startPostgres({ dataDir: join(root, 'state'), port: 0, isDurable: false }),
    startSqs({ port: 0 }),
    startIssuer({ dataDir: temporaryDirectory(t), port: 0, audience }),
  ])
  t.teardown(() => Promise.all([postgres.stop(), sqs.stop(), issuer.stop()]))
  const secrets = join(root, 'secrets')
  mkdirSync(join(secrets, 'postgres'), { recursive: true })
  // What the image postgres:18 makes of POSTGRES_DB and POSTGRES_PASSWORD_FILE.
  makeSecrets(secrets, `127.0.0.1:${postgres.port}`)
  const password = readFileSync(join(secrets, 'postgres', 'password'), 'utf8')
  const admin = new pg.Client({ connectionString: postgres.adminUrl })
  await admin.connect()
  await admin.query(`CREATE ROLE postgres SUPERUSER LOGIN PASSWORD '${password}'`)
  await admin.query('CREATE DATABASE tokenvault')
  await admin.end()

  const checkpoints = join(root, 'checkpoints')
  mkdirSync(checkpoints)
  const secretsOf = (reader: string) => ({
    DATABASE_URL_FILE: join(secrets, reader, 'database-url'),
    KEK_FILE: join(secrets, reader, 'kek'),
  })
  const environments = {
    migrate: { ...secretsOf('migrate'), ROLE_PASSWORDS_DIR: join(secrets, 'migrate', 'passwords') },
    worker: { ...secretsOf('worker'), SQS_QUEUE_URL: sqs.queueUrl, AWS_ENDPOINT_URL_SQS: sqs.endpoint },
    api: {
      ...secretsOf('api'),
      PORT: '0',
      JWT_ISSUER: issuer.issuer,
      JWT_AUDIENCE: audience,
      JWKS_URL: issuer.jwksUrl,
      CHECKPOINT_URL: `${pathToFileURL(checkpoints)}/`,
    },
  }
  const analystPassword = readFileSync(join(secrets, 'migrate', 'passwords', 'tokenvault_analyst'), 'utf8')
  const analystUrl = `postgres://tokenvault_analyst:${analystPassword}@127.0.0.1:${postgres.port}/tokenvault`
  return { root, secrets, checkpoints, sqs, issuer, environments, analystUrl }
}

async function send(sqs: { queueUrl: string; endpoint: string }, bodies: readonly string[]) {
  const credentials = { accessKeyId: 'test', secretAccessKey: 'test' }
  const { log } = createTestLog()
  const queue = createSqsQueue({
    queueUrl: sqs.queueUrl,
    region: 'us-east-1',
    endpoint: sqs.endpoint,
    credentials,
    log,
  })
  await queue.send(bodies)
  queue.close()
}

t.test('a process without its configuration names every problem at once and starts nothing', async t => {
  const needs = {
    migrate: ['DATABASE_URL', 'KEK_FILE'],
    worker: ['DATABASE_URL', 'KEK_FILE', 'SQS_QUEUE_URL'],
    api: ['DATABASE_URL', 'KEK_FILE', 'JWT_ISSUER', 'JWT_AUDIENCE', 'JWKS_URL'],
  }
  const runs = Object.entries(needs).map(async ([command, names]) => {
    const { code, out, err } = await run([command])
    t.equal(code, 2, command)
    t.equal(out, '')
    t.equal(err.match(/config_invalid/g)?.length, 1, 'one message')
    for (const name of names) t.match(err, `${name} is not set`)
  })
  await Promise.all(runs)
})

t.test('migrate, worker and api with secrets as files, end to end', async t => {
  const { root, secrets, checkpoints, sqs, issuer, environments, analystUrl } = await startWorld()

  const first = await run(['migrate', '--json'], environments.migrate)
  t.equal(first.code, 0, first.err)
  const prepared = JSON.parse(first.out)
  t.ok(prepared.migrations.length > 0)
  t.ok(prepared.keys.includes('token/ip/v1'))
  t.equal(prepared.passwords.length, 6, 'each login role has its password')

  t.test('a second start makes no other secrets, migrations or keys', async t => {
    const kek = readFileSync(join(secrets, 'api', 'kek'))
    makeSecrets(secrets, 'elsewhere:5432')
    t.same(readFileSync(join(secrets, 'api', 'kek')), kek)
    t.same(readFileSync(join(secrets, 'worker', 'kek')), kek)
    const { code, out } = await run(['migrate', '--json'], environments.migrate)
    t.equal(code, 0)
    t.match(JSON.parse(out), { migrations: [], keys: [] })
  })

  t.test('the worker drains the queue and sums up', async t => {
    await send(sqs, [JSON.stringify(event), JSON.stringify([event, event]), '{"no":"event"}'])
    const { code, out, err } = await run(['worker', '--drain', '--json'], environments.worker)
    t.equal(code, 0, err)
    t.match(JSON.parse(out), { received: 3, stored: 3, quarantined: 1, duplicates: 0 })
    t.notMatch(out + err, address, 'and logs no value')
  })

  t.test('the API gives an original back to an investigator, and none to an analyst', async t => {
    const analyst = new pg.Client({ connectionString: analystUrl })
    await analyst.connect()
    const { rows } = await analyst.query('SELECT DISTINCT masked_ip FROM user_logins')
    await analyst.end()
    t.equal(rows.length, 1, 'equal addresses have equal tokens')
    const api = await startUntil('api_listening', ['api'], environments.api)
    const detokenize = async (role: string) => {
      const jwt = await issuer.sign({ subject: 'someone', roles: [role], lifetimeSeconds: 60 })
      const response = await fetch(`http://127.0.0.1:${api.entry.port}/v1/detokenize`, {
        method: 'POST',
        headers: { authorization: `Bearer ${jwt}`, 'content-type': 'application/json' },
        body: JSON.stringify({ purpose: 'fraud_investigation', tokens: [rows[0].masked_ip] }),
      })
      return { status: response.status, body: await response.json() }
    }
    t.match(await detokenize('investigator'), { status: 200, body: { results: [{ field: 'ip', value: address }] } })
    t.match(await detokenize('analyst'), { status: 403, body: { code: 'role_not_permitted' } })
    t.equal((await fetch(`http://127.0.0.1:${api.entry.port}/readyz`)).status, 200)
    t.match(await api.stop(), { code: 0, signal: null }, 'SIGTERM ends it')
    const last = readdirSync(checkpoints).toSorted().at(-1)
    t.equal(last, '0000000000000002.note', 'both calls are in the checkpoint that it made last')
    t.match(readFileSync(join(checkpoints, last!), 'utf8'), /^tokenvault\/default\n2\n/)
  })

  t.test('SIGTERM ends a worker that stays, with its summary', async t => {
    const worker = await startUntil('worker_started', ['worker', '--json'], environments.worker)
    const { code, signal, out } = await worker.stop()
    t.match({ code, signal }, { code: 0, signal: null })
    t.match(JSON.parse(out), { stored: 0 })
  })

  t.test('another KEK is refused by every process, which names the key', async t => {
    const KEK_FILE = join(root, 'other-kek')
    writeFileSync(KEK_FILE, Buffer.alloc(32, 7), { mode: 0o600 })
    const runs = Object.entries(environments).map(async ([command, environment]) => {
      const { code, err } = await run([command], { ...environment, KEK_FILE })
      t.equal(code, 2, command)
      t.match(err, /^tokenvault: kek_mismatch: key [a-z]+\/[a-z_]*\/v1 does not unwrap/m)
    })
    await Promise.all(runs)
  })
})
