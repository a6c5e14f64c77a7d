import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Test } from 'tap'
import { composeApi } from '../../../src/compose/api.ts'
import { type Environment, loadConfig } from '../../../src/config/load.ts'
import { listen } from '../../../src/http/server/connections.ts'
import { createLog } from '../../../src/log.ts'
import { createIngestStore } from '../../../src/store/ingest.ts'
import { loginFields } from '../../../src/vault/fields/fields.ts'
import { temporaryDirectory } from '../embedded/embedded-directory.ts'
import { createVaultDatabase, type VaultDatabase } from '../postgres/vault-database.ts'
import { fetchCalmly } from './http-app.ts'
import { audience, createIssuerKey, type IssuerKey, issuer, signJwt, startJwksServer } from './jwks-server.ts'

/** A vault with originals, an issuer, and what an API process needs of the environment to serve both. */
export interface VaultWorld {
  readonly vault: VaultDatabase
  readonly key: IssuerKey
  readonly environment: Environment
  /** Stored addresses `10.0.x.y` in order, and their tokens. */
  readonly tokens: readonly string[]
  /** Every audit event so far, as an auditor reads them, in order. */
  events(): Promise<Record<string, unknown>[]>
}

export async function createVaultWorld(
  t: Test,
  options: { readonly policy: string; readonly originals: number; readonly environment?: Environment },
): Promise<VaultWorld> {
  const vault = await createVaultDatabase(t)
  const key = await createIssuerKey('key-1')
  const jwks = await startJwksServer(t, key.publicJwk)
  const policyFile = join(temporaryDirectory(t), 'policy.yaml')
  writeFileSync(policyFile, options.policy)
  const auditor = await vault.connect('tokenvault_auditor')
  const api = await vault.connect('tokenvault_api')
  return {
    vault,
    key,
    environment: {
      DATABASE_URL: vault.urlFor('tokenvault_api'),
      STORE_DATABASE_URL: vault.urlFor('tokenvault_store'),
      PRIVACY_DATABASE_URL: vault.urlFor('tokenvault_privacy'),
      DATABASE_POOL_MAX: '4',
      KEK_FILE: vault.kekFile,
      JWT_ISSUER: issuer,
      JWT_AUDIENCE: audience,
      JWKS_URL: jwks.url,
      POLICY_FILE: policyFile,
      PORT: '0',
      RATE_LIMIT_PER_MINUTE: '1000000',
      ...options.environment,
    },
    tokens: await storeAddresses(vault, options.originals),
    async events() {
      await api.query('SELECT pii_vault.fold_refusals(true)')
      const { rows } = await auditor.query(
        `SELECT convert_from(event, 'UTF8') AS event FROM pii_vault.audit_log ORDER BY sequence`,
      )
      return rows.map(({ event }) => JSON.parse(event))
    },
  }
}

async function storeAddresses(vault: VaultDatabase, count: number): Promise<string[]> {
  const addresses = Array.from({ length: count }, (_, n) => `10.0.${n >> 8}.${n & 255}`)
  const ips = vault.tokenizer.tokenizeValues('ip', addresses)
  const [device] = vault.tokenizer.tokenizeValues('device_id', ['593-47-1'])
  const rows = ips.map((ip, n) => {
    if (!('token' in ip) || device === undefined || !('token' in device)) throw new Error('a test value was refused')
    const createDate = new Date().toISOString().slice(0, 10)
    return { userId: `user-${n}`, deviceType: 'ios', locale: null, appVersion: 2, createDate, tokens: [ip, device] }
  })
  const message = { messageId: 'message-1', sentOn: new Date().toISOString().slice(0, 10), rows, quarantined: [] }
  await createIngestStore(vault.database('tokenvault_worker', 1), loginFields).storeMessages([message])
  return rows.map(({ tokens }) => tokens[0]!.token)
}

/** Who calls; everybody is of the one issuer. */
export interface Caller {
  readonly sub: string
  readonly roles: readonly string[]
}

export interface Reply {
  readonly status: number
  readonly headers: Headers
  // biome-ignore lint/suspicious/noExplicitAny: a test looks where it expects something
  readonly json: Record<string, any>
}

/** Calls an API as somebody. */
export async function callAs(
  { key, origin }: { readonly key: IssuerKey; readonly origin: string },
  { sub, roles }: Caller,
  method: 'GET' | 'POST',
  path: string,
  body?: object,
  headers: Record<string, string> = {},
): Promise<Reply> {
  const authorization = `Bearer ${await signJwt(key, { sub, roles })}`
  const response = await fetchCalmly(`${origin}${path}`, {
    method,
    headers: { authorization, ...(body && { 'content-type': 'application/json' }), ...headers },
    ...(body && { body: JSON.stringify(body) }),
  })
  return { status: response.status, headers: response.headers, json: (await response.json()) as Reply['json'] }
}

/** The API as `tokenvault api` composes it, in this process, over a world of its own or one that is there. */
export async function startVaultApi(
  t: Test,
  options: Parameters<typeof createVaultWorld>[1] | { readonly world: VaultWorld; readonly environment?: Environment },
) {
  const world = 'world' in options ? options.world : await createVaultWorld(t, options)
  let logged = ''
  const log = createLog('debug', {
    write: line => {
      logged += line
    },
  })
  const config = loadConfig('api', { ...world.environment, ...options.environment })
  const { app, close } = await composeApi(config, log, {})
  t.teardown(close)
  const origin = `http://127.0.0.1:${await listen(app, { host: '127.0.0.1', port: 0 })}`
  const call = (
    caller: Caller,
    method: 'GET' | 'POST',
    path: string,
    body?: object,
    headers?: Record<string, string>,
  ) => callAs({ key: world.key, origin }, caller, method, path, body, headers)
  return { ...world, origin, call, logged: () => logged, close }
}
