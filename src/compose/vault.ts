import { databaseUrl, type Environment } from '../config/load.ts'
import type { Config } from '../config/variables.ts'
import { createKnownAddresses, rememberAddresses } from '../ingest/batch/known-addresses.ts'
import { createTokenizeMessages, type TokenizeMessages } from '../ingest/batch/tokenize-messages.ts'
import type { IngestStore } from '../ingest/ports.ts'
import type { Log } from '../log.ts'
import { createAuditReader } from '../store/audit-reader.ts'
import { createFieldRecordReader } from '../store/fields.ts'
import { createIngestStore } from '../store/ingest.ts'
import { createSayFollowed } from '../store/key-followers.ts'
import { createKeyReader } from '../store/keys.ts'
import { createDatabase, type TokenvaultDatabase } from '../store/postgres/database.ts'
import { checkRights } from '../store/postgres/health.ts'
import { checkDetailColumns } from '../store/setup/detail-columns.ts'
import { checkLoginColumns } from '../store/setup/login-columns.ts'
import type { LoginRole } from '../store/setup/role-passwords.ts'
import { type AnySigner, createLogSigner } from '../vault/admission/log-signer.ts'
import type { ClearColumn } from '../vault/fields/clear-columns.ts'
import type { FieldSchema } from '../vault/fields/fields.ts'
import { checkRecordedFields } from '../vault/fields/recorded-fields.ts'
import { FieldKeys } from '../vault/keys/field-keys.ts'
import { unwrapKeys } from '../vault/keys/wrapped-keys.ts'
import { createSealQuarantined } from '../vault/quarantine/sealed-bodies.ts'
import { createTokenizer } from '../vault/tokens/tokenizer.ts'
import { readFields, readFieldsFile } from './fields.ts'
import { type FollowedKeys, followKeys, followKeysByTask } from './follow-keys.ts'
import { openKek } from './kek.ts'

/** The database, and the keys that it holds wrapped. */
export interface Vault {
  readonly fields: FieldSchema
  readonly database: TokenvaultDatabase
  readonly keys: FieldKeys
  /** Has `keys` take up changes from now on; of processes that run long. */
  readonly follow: (log: Log) => FollowedKeys
  /** The same, of processes that stand still between their tasks. @returns what to call before each; it throws nothing */
  readonly followByTask: (log: Log) => () => Promise<void>
}

/** What signs checkpoints and receipts. */
export interface SigningVault extends Vault {
  readonly signer: AnySigner
}

/** What turns messages into rows. */
export interface IngestVault extends Vault {
  readonly clear: readonly ClearColumn[]
  readonly tokenizeMessages: TokenizeMessages
  readonly store: IngestStore
}

/** What a process is besides its configuration. */
export interface VaultOpening {
  /** What only the SDK of AWS reads, and the environment of KEK_COMMAND. */
  readonly environment: Environment
  /** By which Postgres shows its sessions. */
  readonly applicationName: string
}

/**
 * Unwraps every key and compares the fields with those that the tokens of the vault were made by, so that a process starts whole or
 * not at all.
 *
 * @param opening.role whose rights the process needs; it is refused where one is missing
 * @throws TokenvaultError `config_invalid`, `kek_unavailable`, `kek_mismatch`, `keyset_incomplete`, `keyset_invalid`,
 *   `field_changed`, `store_misconfigured`, `store_unavailable`
 */
export async function openVault(
  config: Config<'lambda'>,
  opening: VaultOpening & { readonly role?: LoginRole },
): Promise<Vault> {
  const { environment, applicationName, role } = opening
  const fields = readFields(config)
  const kek = await openKek(config, environment)
  const database = createDatabase({ url: databaseUrl(config), poolMax: config.DATABASE_POOL_MAX, applicationName })
  try {
    if (role !== undefined) await checkRights(database, role)
    const reader = createKeyReader(database)
    const stored = await reader.readKeys()
    const { TENANT: tenant } = config
    const keyset = await unwrapKeys(stored, kek, tenant)
    checkRecordedFields(fields, await createFieldRecordReader(database).readRecordedFields(), name =>
      // A field that is new has no keys either, which says more.
      keyset.primary('token', name),
    )
    const keys = new FieldKeys(keyset, tenant)
    const following = {
      ...{ keys, keyset, stored, reader, tenant },
      openKek: () => openKek(config, environment),
      process: applicationName.replace(/^tokenvault /, ''),
      say: createSayFollowed(database),
    }
    return {
      fields,
      database,
      keys,
      follow: log => followKeys({ ...following, log }),
      followByTask: log => followKeysByTask({ ...following, log }),
    }
  } catch (error) {
    await database.destroy()
    throw error
  }
}

/** Name of the log and of its key: what AUDIT_ORIGIN gives or, without it, one of the tenant. */
export function logName({ AUDIT_ORIGIN, TENANT }: Pick<Config<'api'>, 'AUDIT_ORIGIN' | 'TENANT'>): string {
  return AUDIT_ORIGIN ?? `tokenvault/${TENANT}`
}

/**
 * A vault that can sign its evidence. Where the signing key is missing, `tokenvault migrate` makes it.
 *
 * @throws TokenvaultError as openVault
 */
export async function openSigningVault(
  config: Config<'lambda'> & Pick<Config<'api'>, 'AUDIT_ORIGIN'>,
  opening: VaultOpening & { readonly role?: LoginRole },
): Promise<SigningVault> {
  const vault = await openVault(config, opening)
  try {
    return { ...vault, signer: createLogSigner(vault.keys, logName(config), createAuditReader(vault.database)) }
  } catch (error) {
    await vault.database.destroy()
    throw error
  }
}

/**
 * A vault that can take rows: user_logins has a column for every field, and login_details for every clear property.
 *
 * @throws TokenvaultError as openVault
 */
export async function openIngestVault(config: Config<'lambda'>, opening: VaultOpening): Promise<IngestVault> {
  const vault = await openVault(config, { ...opening, role: 'tokenvault_worker' })
  const { fields, database, keys } = vault
  try {
    const { clear } = readFieldsFile(config)
    const known = createKnownAddresses()
    const options = { clear, known }
    const tokenizeMessages = createTokenizeMessages(createTokenizer(keys, fields), createSealQuarantined(keys), options)
    await checkLoginColumns(database, fields)
    await checkDetailColumns(database, fields, clear)
    const store = rememberAddresses(createIngestStore(database, fields, clear), known)
    return { ...vault, clear, tokenizeMessages, store }
  } catch (error) {
    await database.destroy()
    throw error
  }
}
