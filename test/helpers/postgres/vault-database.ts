import { randomBytes } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import pg from 'pg'
import type { Test } from 'tap'
import { openLocalKek } from '../../../src/kms/local.ts'
import { createFieldRecordWriter } from '../../../src/store/fields.ts'
import { createKeyWriter } from '../../../src/store/keys.ts'
import { createDatabase, type TokenvaultDatabase } from '../../../src/store/postgres/database.ts'
import { type LoginRole, loginRoles, scramVerifier } from '../../../src/store/setup/role-passwords.ts'
import { loginFields } from '../../../src/vault/fields/fields.ts'
import { describeField } from '../../../src/vault/fields/recorded-fields.ts'
import { FieldKeys } from '../../../src/vault/keys/field-keys.ts'
import type { Keyset } from '../../../src/vault/keys/keyset.ts'
import { createMissingKeys } from '../../../src/vault/keys/wrapped-keys.ts'
import { createSealQuarantined, type SealQuarantined } from '../../../src/vault/quarantine/sealed-bodies.ts'
import { createTokenizer, type Tokenizer } from '../../../src/vault/tokens/tokenizer.ts'
import { temporaryDirectory } from '../embedded/embedded-directory.ts'
import { testCluster } from './embedded-postgres.ts'
import { createMigratedDatabase } from './migrated-database.ts'

export const testTenant = 'default'

/** Roles belong to the cluster, which test processes share: whoever sets a password of theirs sets this one. */
export function passwordOf(role: LoginRole): string {
  return `password-of-${role}`
}

/** A database as `tokenvault migrate` leaves it, for one test. */
export interface VaultDatabase {
  readonly name: string
  /** URL of the superuser. */
  readonly adminUrl: string
  readonly kekFile: string
  readonly keyset: Keyset
  readonly keys: FieldKeys
  readonly tokenizer: Tokenizer
  readonly sealQuarantined: SealQuarantined
  urlFor(role: LoginRole): string
  /** A new pool of the role, or of the superuser; closed when the test ends. */
  database(role?: LoginRole, poolMax?: number): TokenvaultDatabase
  /** One connection of the role, or of the superuser; closed when the test ends. */
  connect(role?: LoginRole): Promise<pg.Client>
}

/** The database is migrated, the login roles get their passwords, and the first keys are made. */
export async function createVaultDatabase(t: Pick<Test, 'teardown'>): Promise<VaultDatabase> {
  const { name, adminUrl } = await createMigratedDatabase(t)
  const kekFile = join(temporaryDirectory(t), 'kek')
  writeFileSync(kekFile, randomBytes(32), { mode: 0o600 })
  const database = (role?: LoginRole, poolMax = 4) =>
    openDatabase(t, role === undefined ? adminUrl : urlFor(role), poolMax)
  const urlFor = (role: LoginRole) => withLogin(adminUrl, role, passwordOf(role))
  const admin = database(undefined, 1)
  passwords ??= setTestPasswords()
  await passwords
  const { keyset } = await createMissingKeys(createKeyWriter(admin), openLocalKek(kekFile), {
    tenant: testTenant,
    fields: loginFields,
  })
  await createFieldRecordWriter(admin).recordFields([...loginFields.values()].map(describeField))
  const keys = new FieldKeys(keyset, testTenant)
  const tokenizer = createTokenizer(keys, loginFields)
  const sealQuarantined = createSealQuarantined(keys)
  const connect = (role?: LoginRole) => connectTo(t, role === undefined ? adminUrl : urlFor(role))
  return { name, adminUrl, kekFile, keyset, keys, tokenizer, sealQuarantined, urlFor, database, connect }
}

/** A pool that is closed when the test ends. */
export function openDatabase(t: Pick<Test, 'teardown'>, url: string, poolMax = 4): TokenvaultDatabase {
  const database = createDatabase({ url, poolMax, applicationName: 'tokenvault test' })
  t.teardown(() => database.destroy())
  return database
}

/** A connection that is closed when the test ends. */
export async function connectTo(t: Pick<Test, 'teardown'>, url: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: url })
  // A test may have the server end it.
  client.on('error', () => {})
  await client.connect()
  t.teardown(() => client.end())
  return client
}

/** The same server and database for another login. */
export function withLogin(url: string, user: string, password: string): string {
  const other = new URL(url)
  other.username = user
  other.password = password
  return other.href
}

let passwords: Promise<void> | undefined

/** A fixed salt makes the verifier known, so that only the first process of a cluster writes: writing at once collides. */
async function setTestPasswords(): Promise<void> {
  const client = new pg.Client({ connectionString: await testCluster() })
  await client.connect()
  try {
    await client.query(`BEGIN; SELECT pg_advisory_xact_lock(hashtextextended('tokenvault/test-passwords', 0))`)
    const { rows } = await client.query('SELECT rolname, rolpassword FROM pg_authid')
    const current = new Map(rows.map(row => [row.rolname, row.rolpassword]))
    for (const role of loginRoles) {
      const verifier = scramVerifier(passwordOf(role), Buffer.alloc(16, role))
      if (current.get(role) !== verifier) await client.query(`ALTER ROLE ${role} PASSWORD '${verifier}'`)
    }
    await client.query('COMMIT')
  } finally {
    await client.end()
  }
}

/** What the shared cluster has logged so far. */
export function readClusterLog(): string {
  return readFileSync(new URL('../../../.tap/embedded-postgres/postgres.log', import.meta.url), 'utf8')
}
