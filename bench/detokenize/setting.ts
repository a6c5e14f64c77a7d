import { type ChildProcess, fork, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { createRemoteJWKSet, exportSPKI } from 'jose'
import { sql } from 'kysely'
import pg from 'pg'
import { prepareDatabase } from '../../src/compose/prepare-database.ts'
import { openIngestVault } from '../../src/compose/vault.ts'
import { loadConfig } from '../../src/config/load.ts'
import { startIssuer } from '../../src/embedded/issuer.ts'
import { startPostgres } from '../../src/embedded/postgres.ts'
import { createDatabase } from '../../src/store/postgres/database.ts'
import { ensureDatabase } from '../../src/store/setup/ensure-database.ts'
import { setRolePasswords } from '../../src/store/setup/role-passwords.ts'
import { createTokenizer } from '../../src/vault/tokens/tokenizer.ts'
import { type Pgbench, preparePgbench } from './pgbench.ts'

/** A durable Postgres with originals, and the API before it, each with processes of their own. */
export interface Setting {
  /** Of the superuser. */
  readonly databaseUrl: string
  readonly apiPort: number
  readonly bareFastifyPort: number
  readonly pgbench: Pgbench
  readonly jwt: string
  /** Genuine tokens of the vault. */
  readonly tokens: readonly string[]
  /** Adds rows that look like originals, so that the tables are as large as asked. */
  growOriginals(rows: number): Promise<void>
  close(): Promise<void>
}

const audience = 'tokenvault-bench'
const genuine = 100_000

/** Nobody is held up by a budget here, but each call is counted against one. */
const policy = `version: 1
roles_claims: [roles]
roles:
  investigator:
    reveal: { "*": full }
    store: ["*"]
    purposes: ["*"]
    batch_limit: 10000
    budget: { per_minute: 1000000000, per_day: 1000000000 }
`

export async function openSetting(): Promise<Setting> {
  const directory = mkdtempSync(join(tmpdir(), 'tokenvault-bench-'))
  const KEK_FILE = join(directory, 'kek')
  const POLICY_FILE = join(directory, 'policy.yaml')
  writeFileSync(KEK_FILE, randomBytes(32), { mode: 0o600 })
  writeFileSync(POLICY_FILE, policy)
  const postgres = await startPostgres({ dataDir: directory, port: 0 })
  const DATABASE_URL = await ensureDatabase(postgres.adminUrl, 'tokenvault')
  await prepareDatabase(loadConfig('migrate', { DATABASE_URL, KEK_FILE }), { environment: {} })
  const STORE_DATABASE_URL = await makeStoreLogin(DATABASE_URL)
  const tokens = await storeOriginals({ DATABASE_URL, KEK_FILE })
  const issuer = await startIssuer({ dataDir: directory, port: 0, audience })
  const jwt = await issuer.sign({ subject: 'bench', roles: ['investigator'], lifetimeSeconds: 36_000 })
  const api = await startApi({
    ...{ DATABASE_URL, STORE_DATABASE_URL, KEK_FILE, POLICY_FILE, PORT: '0', RATE_LIMIT_PER_MINUTE: '1000000000' },
    ...{ JWT_ISSUER: issuer.issuer, JWT_AUDIENCE: audience, JWKS_URL: issuer.jwksUrl },
  })
  const key = await createRemoteJWKSet(new URL(issuer.jwksUrl))({ alg: 'ES256' })
  const bareFastify = fork(fileURLToPath(new URL('bare-fastify-process.ts', import.meta.url)), [
    ...[await exportSPKI(key), issuer.issuer, audience],
  ])
  const [bareFastifyPort] = (await once(bareFastify, 'message')) as [number]
  return {
    databaseUrl: DATABASE_URL,
    apiPort: api.port,
    bareFastifyPort,
    pgbench: await preparePgbench(DATABASE_URL, directory, genuine),
    jwt,
    tokens,
    growOriginals: rows => growOriginals(DATABASE_URL, rows),
    async close() {
      bareFastify.disconnect()
      const ended = once(api.child, 'exit')
      api.child.kill()
      await ended
      await issuer.stop()
      await postgres.stop()
      rmSync(directory, { recursive: true, force: true })
    },
  }
}

async function makeStoreLogin(url: string): Promise<string> {
  const password = randomBytes(16).toString('hex')
  const database = createDatabase({ url, poolMax: 1, applicationName: 'bench' })
  await setRolePasswords(database, new Map([['tokenvault_store', password]]))
  await database.destroy()
  const login = new URL(url)
  login.username = 'tokenvault_store'
  login.password = password
  return login.href
}

/** Tokenizes and stores as the worker does. */
async function storeOriginals(environment: Readonly<Record<string, string>>): Promise<string[]> {
  const vault = await openIngestVault(loadConfig('lambda', environment), { environment: {}, applicationName: 'bench' })
  const tokenizer = createTokenizer(vault.keys, vault.fields)
  const tokens: string[] = []
  const perCall = 5_000
  const createDate = new Date().toISOString().slice(0, 10)
  for (let first = 0; first < genuine; first += 2 * perCall) {
    const numbers = Array.from({ length: perCall }, (_, index) => first / 2 + index)
    const ips = tokenizer.tokenizeValues(
      'ip',
      numbers.map(n => `10.${n >> 16}.${(n >> 8) & 255}.${n & 255}`),
    )
    const devices = tokenizer.tokenizeValues(
      'device_id',
      numbers.map(n => `device-${n}`),
    )
    const rows = numbers.map((n, index) => {
      const [ip, device] = [ips[index]!, devices[index]!]
      if (!('token' in ip) || !('token' in device)) throw new Error('a value of ours was refused')
      tokens.push(ip.token, device.token)
      return { userId: `user-${n}`, deviceType: 'ios', locale: null, appVersion: 1, createDate, tokens: [ip, device] }
    })
    await vault.store.storeMessages([{ messageId: `m-${first}`, sentOn: createDate, rows, quarantined: [] }])
  }
  await sql.raw('VACUUM ANALYZE pii_vault.originals').execute(vault.database)
  await vault.database.destroy()
  return tokens
}

/** `tokenvault api` as it is, in a process of its own. */
async function startApi(environment: Record<string, string>): Promise<{ child: ChildProcess; port: number }> {
  const main = fileURLToPath(new URL('../../src/cli/tokenvault.js', import.meta.url))
  const child = spawn(process.execPath, [...process.execArgv, main, 'api'], {
    env: { PATH: process.env['PATH'], ...environment },
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  for await (const line of createInterface({ input: child.stderr! })) {
    if (!line.includes('"api_listening"')) continue
    const { port } = JSON.parse(line) as { port: number }
    // Its log lines go nowhere, and must not fill the pipe.
    child.stderr!.resume()
    return { child, port }
  }
  throw new Error('the API did not start')
}

/** By a client of its own: the pool of the product gives a statement less time than ten million rows take. */
async function growOriginals(url: string, rows: number): Promise<void> {
  const client = new pg.Client({ connectionString: url, application_name: 'bench' })
  await client.connect()
  await client.query(
    `INSERT INTO pii_vault.originals (token_id, field, token_key_version, data_key_version, sealed)
     SELECT md5('grown ' || n)::uuid, 'ip', 1, 1, sha256(n::text::bytea) FROM generate_series(1, $1::int) AS n`,
    [rows],
  )
  // In the order of their ids, so that the genuine ones no longer lie side by side.
  await client.query('CLUSTER pii_vault.originals USING originals_pkey')
  await client.query('VACUUM ANALYZE pii_vault.originals')
  await client.query('CHECKPOINT')
  await client.end()
}
