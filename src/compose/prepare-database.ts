import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { databaseUrl, type Environment } from '../config/load.ts'
import type { Config } from '../config/variables.ts'
import { TokenvaultError } from '../errors.ts'
import { createAuditReader } from '../store/audit-reader.ts'
import { createFieldRecordWriter } from '../store/fields.ts'
import { createKeyWriter } from '../store/keys.ts'
import { createDatabase } from '../store/postgres/database.ts'
import { checkAnalystSchemas, createAnalystSchemas } from '../store/setup/analyst-schemas.ts'
import { addDetailColumns } from '../store/setup/detail-columns.ts'
import { describeFindings, type SetupFinding } from '../store/setup/findings.ts'
import { migrate } from '../store/setup/migrate.ts'
import { type LoginRole, loginRoles, setRolePasswords } from '../store/setup/role-passwords.ts'
import { formatLogKeys } from '../tlog/key-history.ts'
import { createLogSigner } from '../vault/admission/log-signer.ts'
import { describeField } from '../vault/fields/recorded-fields.ts'
import { FieldKeys } from '../vault/keys/field-keys.ts'
import type { KeyEncryptionKey } from '../vault/keys/ports.ts'
import { createMissingKeys } from '../vault/keys/wrapped-keys.ts'
import { type Reapplied, reapplyPublished } from './erasures.ts'
import { composeSink } from './evidence.ts'
import { readFieldsFile } from './fields.ts'
import { openKek } from './kek.ts'
import { createKeyRecoverer } from './recovery.ts'
import { logName } from './vault.ts'

export interface Prepared {
  readonly migrations: readonly string[]
  /** SQL that gave roles, owners and grants back, which a restore or a hand had taken. */
  readonly mended: readonly string[]
  readonly keys: readonly string[]
  /** Whether the recovery of the keys was made anew, because keys or recipients were others than it was made of. */
  readonly recoveryMade: boolean
  readonly passwords: readonly LoginRole[]
  readonly analystSchemas: readonly string[]
  /** Columns that analyst.login_details got. */
  readonly detailColumns: readonly string[]
  /** Erasures that the published ledger has and the database did not have: it was restored. Absent where none can be read. */
  readonly reapplied?: Reapplied
  /** What outsiders need to check checkpoints, receipts and proofs; no secret. */
  readonly verifierKey: string
  /** As outsiders keep them in a file: the first verifier key, and every hand-over since. */
  readonly logKeys: string
  /** What works, and does not keep a promise of the product. */
  readonly warnings: readonly SetupFinding[]
}

/**
 * Makes a database ready for workers and the API: migrations, owners and grants, first keys, the record of the fields, passwords of
 * roles. Each is
 * done only where it is missing, and any number of processes may do it at once.
 *
 * @param options.environment of the process, as openKek takes it
 * @param options.kek that the configuration names, where it is open already
 * @param options.analystSchemas schemas in which analysts may create objects of their own
 * After a restore the published erasure ledger is re-applied.
 *
 * @throws TokenvaultError `erasure_ledger_conflict`, `erasure_invalid`, `checkpoint_unavailable`; `store_misconfigured` naming what only an operator can mend, after all else was mended; `usage`,
 *   `migration_failed`, `field_changed`, `kek_unavailable`, `kek_mismatch`, `store_unavailable`, `config_invalid`
 */
export async function prepareDatabase(
  config: Config<'migrate'>,
  options: {
    readonly environment: Environment
    readonly analystSchemas?: readonly string[]
    readonly kek?: KeyEncryptionKey
  },
): Promise<Prepared> {
  const { environment, analystSchemas = [] } = options
  checkAnalystSchemas(analystSchemas)
  const { fields, clear } = readFieldsFile(config)
  const kek = options.kek ?? (await openKek(config, environment))
  const passwords = readPasswords(config.ROLE_PASSWORDS_DIR)
  const database = createDatabase({
    url: databaseUrl(config),
    poolMax: 2,
    applicationName: 'tokenvault migrate',
    // A migration of a large table, or another migrator's lock, may take long.
    statementTimeoutMilliseconds: 3_600_000,
  })
  try {
    const { migrations, mended, findings } = await migrate(database)
    const failures = findings.filter(({ status }) => status === 'fail')
    if (failures.length > 0) throw new TokenvaultError('store_misconfigured', describeFindings(failures))
    const warnings = findings.filter(({ status }) => status === 'warn')
    await createAnalystSchemas(database, analystSchemas)
    const detailColumns = await addDetailColumns(database, fields, clear)
    const recoverer = await createKeyRecoverer(config, { database, kek })
    const { keyset, made } = await createMissingKeys(createKeyWriter(database), kek, {
      tenant: config.TENANT,
      fields,
      recover: added => recoverer.after({ added }),
    })
    const recoveryMade = await recoverer.ensure()
    await createFieldRecordWriter(database).recordFields([...fields.values()].map(describeField))
    await setRolePasswords(database, passwords)
    const handOvers = createAuditReader(database)
    const allKeys = new FieldKeys(keyset, config.TENANT)
    const signer = createLogSigner(allKeys, logName(config), handOvers)
    const { verifierKey } = signer
    const notes = (await handOvers.readHandOvers()).map(({ note }) => note)
    const sink = await composeSink(config, environment)
    const reapplied = await reapplyPublished({ database, fields, keys: allKeys, signer }, sink).finally(() =>
      sink?.close(),
    )
    return {
      migrations,
      mended,
      keys: made,
      recoveryMade,
      passwords: [...passwords.keys()],
      analystSchemas,
      detailColumns,
      verifierKey,
      logKeys: formatLogKeys(await signer.readVerifier(), notes),
      ...(reapplied === undefined ? {} : { reapplied }),
      warnings,
    }
  } finally {
    await database.destroy()
  }
}

function readPasswords(directory: string | undefined): ReadonlyMap<LoginRole, string> {
  const passwords = new Map<LoginRole, string>()
  if (directory === undefined) return passwords
  for (const role of loginRoles) {
    const password = readPassword(join(directory, role))
    if (password !== undefined) passwords.set(role, password)
  }
  if (passwords.size === 0) {
    throw new TokenvaultError('config_invalid', `ROLE_PASSWORDS_DIR holds no file named ${loginRoles.join(', ')}`)
  }
  return passwords
}

function readPassword(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8').replace(/\r?\n$/, '')
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
    throw new TokenvaultError('config_invalid', 'a file of ROLE_PASSWORDS_DIR cannot be read', { cause: error })
  }
}
