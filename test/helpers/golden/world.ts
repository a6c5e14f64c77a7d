import { createSecretKey, hash } from 'node:crypto'
import { chmodSync, writeFileSync } from 'node:fs'
import type { Test } from 'tap'
import { readGolden } from './golden.ts'
import {
  audience,
  type Command,
  createIssuerKey,
  createVaultDatabase,
  FieldKeys,
  issuer,
  Keyset,
  startCommand,
  startJwksServer,
  type VaultDatabase,
} from './seams.ts'

/** A keyset as a released version stored it: wrapped once, under a KEK that everybody may know. */
interface KeptKeys {
  readonly kek: string
  readonly kekId: string
  readonly wrapped: readonly {
    readonly purpose: 'token' | 'data' | 'quarantine' | 'audit' | 'signing'
    readonly field: string
    readonly version: number
    readonly wrapped: string
  }[]
}

export const keptKeys = readGolden<KeptKeys>('keys')

/** Key material by place: what `keys.json` holds wrapped. */
export function materialOf(purpose: string, field: string): Buffer {
  const bytes = { audit: 32, signing: 32 }[purpose] ?? 64
  return hash('sha512', `golden ${purpose}/${field}/v1`, 'buffer').subarray(0, bytes)
}

/** The same keys, for what is frozen without a database. */
export function goldenKeys() {
  const keys = keptKeys.wrapped.map(({ purpose, field, version }) => ({
    ...{ purpose, field, version, status: 'primary' as const },
    material: createSecretKey(materialOf(purpose, field)),
  }))
  return new FieldKeys(new Keyset(keys), 'default')
}

/** A migrated database whose keys are the kept ones, as a process of today finds the database of a released version. */
export async function createGoldenDatabase(t: Test) {
  const vault = await createVaultDatabase(t)
  const admin = await vault.connect()
  await admin.query('DELETE FROM pii_vault.keys')
  for (const { purpose, field, version, wrapped } of keptKeys.wrapped) {
    await admin.query(
      `INSERT INTO pii_vault.keys (purpose, field, version, status, kek_id, wrapped)
       VALUES ($1, $2, $3, 'primary', $4, decode($5, 'base64'))`,
      [purpose, field, version, keptKeys.kekId, wrapped],
    )
  }
  writeFileSync(vault.kekFile, Buffer.from(keptKeys.kek, 'base64'))
  chmodSync(vault.kekFile, 0o600)
  return { vault, admin }
}

/** `tokenvault api` over such a database, listening; `key` signs the access tokens that it accepts. */
export async function startGoldenApi(t: Test, vault: VaultDatabase, environment: NodeJS.ProcessEnv) {
  const key = await createIssuerKey('key-1')
  const api = startCommand(t, ['api'], {
    DATABASE_URL: vault.urlFor('tokenvault_api'),
    STORE_DATABASE_URL: vault.urlFor('tokenvault_store'),
    PRIVACY_DATABASE_URL: vault.urlFor('tokenvault_privacy'),
    KEK_FILE: vault.kekFile,
    JWT_ISSUER: issuer,
    JWT_AUDIENCE: audience,
    JWKS_URL: (await startJwksServer(t, key.publicJwk)).url,
    PORT: '0',
    ...environment,
  })
  return { api, key, origin: `http://127.0.0.1:${await loggedPort(api, 'api_listening')}` }
}

/** The port that a process logs once it listens. */
export async function loggedPort(command: Command, event: string): Promise<number> {
  const listening = new RegExp(`"event":"${event}","port":(\\d+)`)
  for (;;) {
    const match = listening.exec(command.stderr())
    if (match !== null) return Number(match[1])
    const more = await Promise.race([
      new Promise<true>(resolve => command.process.stderr!.once('data', () => resolve(true))),
      command.ended,
    ])
    if (more !== true) throw new Error(`ended before ${event}:\n${command.stderr()}`)
  }
}
