import { randomUUID } from 'node:crypto'
import type { Environment } from '../../config/load.ts'
import type { Config } from '../../config/variables.ts'
import { TokenvaultError } from '../../errors.ts'
import { openWithIdentity } from '../../kms/age.ts'
import { adoptKeys } from '../../store/adopt-keys.ts'
import { createAuditReader } from '../../store/audit-reader.ts'
import { createFieldRecordReader } from '../../store/fields.ts'
import { createKeyAdministration } from '../../store/key-changes.ts'
import { createKeyRecoveryStore } from '../../store/key-recovery.ts'
import { createKeyReader } from '../../store/keys.ts'
import { createLedger } from '../../store/ledger.ts'
import { countOriginals, createFieldOriginals } from '../../store/originals.ts'
import { createDatabase, type TokenvaultDatabase } from '../../store/postgres/database.ts'
import { restoreDump } from '../../store/restore/restore-dump.ts'
import { createRoles, migrate } from '../../store/setup/migrate.ts'
import { openCheckpoint } from '../../tlog/checkpoint.ts'
import { followHandOvers, type LogKeys, spansOf } from '../../tlog/key-history.ts'
import { createNoteVerifier } from '../../tlog/signed-note.ts'
import { describeKeyEvent } from '../../vault/admission/key-event.ts'
import type { CheckpointArchive } from '../../vault/evidence/ports.ts'
import { verifyAudit } from '../../vault/evidence/verify/verify.ts'
import type { Field } from '../../vault/fields/fields.ts'
import { FieldKeys } from '../../vault/keys/field-keys.ts'
import { formatKeyName } from '../../vault/keys/keyset.ts'
import type { KeyEncryptionKey } from '../../vault/keys/ports.ts'
import { type KeyAdoption, planAdoption, type RecoveredKeyset, readRecovery } from '../../vault/keys/recovery.ts'
import { openKeyset, rewrapKeys } from '../../vault/keys/wrapped-keys.ts'
import { reconcile } from '../../vault/ledger/reconcile.ts'
import { tryOriginals } from '../../vault/tokens/try-originals.ts'
import { readFields } from '../fields.ts'
import { type Prepared, prepareDatabase } from '../prepare-database.ts'
import { logName } from '../vault.ts'
import { version } from '../version.ts'
import type { DumpFile } from './dump-file.ts'
import { type RecoveryReport, signReport } from './report.ts'

export const recoverySteps = ['restore', 'migrate', 'keys', 'audit', 'adopt', 'originals', 'reconcile'] as const
export type RecoveryStep = (typeof recoverySteps)[number]

export interface RecoveryOptions {
  readonly kind: RecoveryReport['kind']
  /** Of the database to restore into: its superuser, or who may own it and make roles. */
  readonly url: string
  readonly dump: DumpFile
  /** A file of age identities; absent where the KEK opens the keys of the dump. */
  readonly identityPath?: string | undefined
  /** A recovery of the keys that was published, in place of the one in the dump. */
  readonly recovery?: Uint8Array | undefined
  /** Under which all keys are put. */
  readonly kek: KeyEncryptionKey
  /** Its DATABASE_URL and KEK are not read. */
  readonly config: Config<'migrate'>
  readonly environment: Environment
  /** What was published of the log. */
  readonly published?: CheckpointArchive | undefined
  /** Of the log, as it was given; without it, that of the recovered signing key. */
  readonly verifier?: LogKeys | undefined
  readonly sample: { readonly count: number; readonly seed: number }
  readonly signal: AbortSignal
  /** Told each step as it begins. */
  readonly onStep: (step: RecoveryStep) => void
  readonly onProgress: (bytes: number) => void
}

/**
 * Makes a working vault of a dump: restores it, migrates it, opens its keys without the KEK that they are under, compares its
 * evidence with what was published, and tries whether values open. It can be stopped anywhere, and called again, until
 * unmarkRestored says that its result was kept.
 *
 * @returns what was found, and that as a signed note
 * @throws TokenvaultError `dump_invalid`, `recovery_target_used`, `recovery_invalid`, `recovery_stopped`, and as prepareDatabase
 */
export async function recover(options: RecoveryOptions): Promise<{ report: RecoveryReport; note: string }> {
  const { kind, url, dump, config, signal, sample } = options
  const startedAt = new Date().toISOString()
  const seconds: Record<string, number> = {}
  const database = openAdmin(url)
  const step = async <T>(name: RecoveryStep, work: () => Promise<T>): Promise<T> => {
    if (signal.aborted) throw new TokenvaultError('recovery_stopped', `it had come to the step "${name}"`)
    options.onStep(name)
    const from = performance.now()
    const result = await work()
    seconds[name] = Math.round(performance.now() - from) / 1000
    return result
  }
  try {
    const restored = await step('restore', async () => {
      await createRoles(database)
      return restoreDump({ url, dump: dump.open(options.onProgress), digest: dump.sha256, signal })
    })
    const migrated = await step('migrate', () => migrate(database))
    const opened = await step('keys', () => openKeys(options, database))
    const keys = new FieldKeys(opened.adoption.keyset, opened.tenant)
    const signer = keys.signer(logName({ ...config, TENANT: opened.tenant }))
    const verifier = options.verifier ?? createNoteVerifier(signer.verifierKey)
    const audit = await step('audit', () => checkAudit(database, { ...options, verifier, events: restored.treeSize }))
    const erasures = await step('adopt', () => adopt(options, database, opened))
    const originals = await step('originals', () => tryFields(database, keys, sample))
    const reconciliation = await step('reconcile', () => reconcile(createLedger(database), readFields(config)))
    const { isConsistent, days, unmatched } = reconciliation
    const report: RecoveryReport = {
      kind,
      release: version,
      startedAt,
      seconds,
      dump: { format: dump.format, bytes: dump.bytes, sha256: dump.sha256, leftOut: restored.leftOut },
      migrations: migrated.migrations,
      mended: migrated.mended.length,
      keys: describeKeys(opened, options.kek),
      audit: { ...audit, verifierKey: spansOf(verifier).at(-1)!.verifier.verifierKey },
      seed: sample.seed,
      originals,
      reconciliation: { isConsistent, days: days.length, unmatched: unmatched.length },
      ...(erasures === undefined ? {} : { erasures }),
      isSound: audit.isIntact && isConsistent && originals.every(({ tried, opened: ok }) => tried === ok),
    }
    return { report, note: signReport(report, signer) }
  } finally {
    await database.destroy()
  }
}

function openAdmin(url: string): TokenvaultDatabase {
  // Indexes and counts of everything there is.
  return createDatabase({
    url,
    poolMax: 2,
    applicationName: 'tokenvault recover',
    statementTimeoutMilliseconds: 12 * 3_600_000,
  })
}

interface OpenedKeys {
  readonly tenant: string
  readonly adoption: KeyAdoption
  readonly openedBy: RecoveryReport['keys']['openedBy']
  readonly recovered?: RecoveredKeyset | undefined
}

/** @throws TokenvaultError `recovery_invalid`; `kek_mismatch` where no identity was given; `config_invalid` for another tenant */
async function openKeys(options: RecoveryOptions, database: TokenvaultDatabase): Promise<OpenedKeys> {
  const { identityPath: path, recovery: given, kek, config } = options
  const store = createKeyRecoveryStore(database)
  const stored = await store.readStoredKeys()
  const sealed = given ?? Buffer.from((await store.readRecovery())?.sealed ?? '')
  const isKekEnough = () => openKeyset(createKeyReader(database), kek, config.TENANT)
  const withKek = async (): Promise<OpenedKeys> => {
    const keyset = await isKekEnough()
    return { tenant: config.TENANT, adoption: { keyset, destroyed: [], added: [] }, openedBy: 'kek' }
  }
  if (path === undefined) return withKek()
  if (sealed.length === 0)
    // Adopted by an earlier run, or a backup of before.
    return withKek().catch(() => {
      throw new TokenvaultError('recovery_invalid', 'the dump holds no recovery: give one with --recovery, or its KEK')
    })
  const bytes = await openWithIdentity(sealed, { name: '--identity', path })
  if (bytes === undefined)
    return withKek().catch(() => {
      throw new TokenvaultError('recovery_invalid', 'no identity of --identity opens the recovery of the keys')
    })
  const recovered = readRecovery(bytes)
  bytes.fill(0)
  const isNamed = options.environment['TENANT'] !== undefined
  if (isNamed && recovered.tenant !== config.TENANT)
    throw new TokenvaultError('config_invalid', `TENANT is another than that of the keys, which is ${recovered.tenant}`)
  const adoption = planAdoption(stored, recovered)
  return { tenant: recovered.tenant, adoption, openedBy: given === undefined ? 'dump' : 'file', recovered }
}

/** @returns what was erased again; undefined where no ledger of erasures was given */
async function adopt(
  options: RecoveryOptions,
  database: TokenvaultDatabase,
  opened: OpenedKeys,
): Promise<RecoveryReport['erasures']> {
  const { kek, config, environment } = options
  const { keyset, destroyed } = opened.adoption
  const { tenant } = opened
  if (opened.openedBy !== 'kek') {
    const login = await createKeyAdministration(database).readLogin()
    const about = { administrator: { login }, at: new Date(), requestId: randomUUID() }
    const events = [
      describeKeyEvent('key_rewrap', keyset.all(), { ...about, kekId: kek.id }),
      ...(destroyed.length > 0 ? [describeKeyEvent('key_destroy', destroyed, about)] : []),
    ]
    await adoptKeys(database, { keys: await rewrapKeys(keyset, { kek, tenant }), destroyed, events })
  }
  // Keys of fields that are new, the record of fields, passwords, the recovery of the keys as they are now; and who was erased
  // after the backup is erased again, by the ledger that CHECKPOINT_URL names.
  const own = { ...config, DATABASE_URL: options.url, TENANT: tenant }
  const prepared: Prepared & { readonly reapplied?: object } = await prepareDatabase(own, { environment, kek })
  return prepared.reapplied === undefined ? undefined : ({ ...prepared.reapplied } as Record<string, number>)
}

/** What the dump held is compared; what was appended since is this recovery's own. */
async function checkAudit(
  database: TokenvaultDatabase,
  options: Pick<RecoveryOptions, 'published'> & { readonly verifier: LogKeys; readonly events: number },
): Promise<Omit<RecoveryReport['audit'], 'verifierKey'>> {
  const { published, verifier, events } = options
  const reached = await published?.findAtMost(events)
  const newest = await published?.findNewest(0)
  const external = reached === undefined ? [] : [{ source: 'published', note: reached.note }]
  const { found, keys } = await createAuditReader(database).snapshot(async view => ({
    found: await verifyAudit(view, { verifier, external }),
    keys: follow(verifier, await view.readHandOvers()),
  }))
  const newestSize = newest === undefined ? 0 : sizeOf(newest.note, keys)
  const after = Math.max(0, (newestSize ?? 0) - events)
  // Another log is published there, or somebody wrote there.
  const strange = newestSize === undefined ? ['checkpoint_signature_wrong'] : []
  const findings = [...found.findings.map(({ code }) => code), ...strange]
  return {
    isIntact: findings.length === 0,
    events: found.events,
    root: found.root,
    findings,
    ...(reached === undefined ? {} : { comparedAt: reached.treeSize }),
    ...(published === undefined ? {} : { eventsAfterBackup: after }),
  }
}

/** The known keys, and those that hand-overs lead to where they are right: where not, verifyAudit has found it. */
function follow(known: LogKeys, handOvers: readonly { readonly note: string }[]): LogKeys {
  try {
    const notes = handOvers.map(({ note }) => note)
    return followHandOvers(known, notes)
  } catch (error) {
    if (error instanceof TokenvaultError && error.code === 'checkpoint_invalid') return known
    throw error
  }
}

/** @returns undefined for a note that the key of the log did not sign */
function sizeOf(note: string, verifier: LogKeys): number | undefined {
  try {
    return openCheckpoint(note, verifier).treeSize
  } catch (error) {
    if (error instanceof TokenvaultError && error.code === 'checkpoint_invalid') return undefined
    throw error
  }
}

async function tryFields(
  database: TokenvaultDatabase,
  keys: FieldKeys,
  sample: RecoveryOptions['sample'],
): Promise<RecoveryReport['originals']> {
  const originals = createFieldOriginals(database)
  const counts = new Map((await countOriginals(database)).map(({ field, count }) => [field, count]))
  const found: RecoveryReport['originals'][number][] = []
  for (const { name: field, format } of await createFieldRecordReader(database).readRecordedFields()) {
    const tried = await tryOriginals({ keys, originals }, { name: field, format: format as Field['format'] }, sample)
    found.push({ field, count: counts.get(field) ?? 0, ...tried })
  }
  return found
}

function describeKeys(opened: OpenedKeys, kek: KeyEncryptionKey): RecoveryReport['keys'] {
  const { adoption, openedBy, recovered } = opened
  return {
    openedBy,
    ...(recovered === undefined ? {} : { recoveryMadeAt: recovered.madeAt.toISOString() }),
    count: adoption.keyset.all().length,
    destroyed: adoption.destroyed.map(formatKeyName),
    added: adoption.added.map(formatKeyName),
    kekId: kek.id,
  }
}
