import { statSync } from 'node:fs'
import { listRecipients } from '../../config/variables.ts'
import { createTokenizeMessages } from '../../ingest/batch/tokenize-messages.ts'
import { createFieldRecordReader } from '../../store/fields.ts'
import { createKeyRecordReader } from '../../store/key-changes.ts'
import { createFollowerReader } from '../../store/key-followers.ts'
import { createKeyRecoveryStore } from '../../store/key-recovery.ts'
import { createKeyReader } from '../../store/keys.ts'
import type { TokenvaultDatabase } from '../../store/postgres/database.ts'
import { checkRecordedFields } from '../../vault/fields/recorded-fields.ts'
import { FieldKeys } from '../../vault/keys/field-keys.ts'
import { findLaggards } from '../../vault/keys/fingerprint.ts'
import { formatKeyName } from '../../vault/keys/keyset.ts'
import { findAged, planDueDestructions } from '../../vault/keys/lifecycle.ts'
import type { KeyEncryptionKey } from '../../vault/keys/ports.ts'
import { judgeRecovery, type RecoveryState } from '../../vault/keys/recovery.ts'
import { openKeyset } from '../../vault/keys/wrapped-keys.ts'
import { createSealQuarantined } from '../../vault/quarantine/sealed-bodies.ts'
import { createTokenizer } from '../../vault/tokens/tokenizer.ts'
import { readFields } from '../fields.ts'
import { openKek } from '../kek.ts'
import { logName } from '../vault.ts'
import { type Check, type Finding, ok, skip, warn } from './findings.ts'
import { type Subject, whenConnected } from './subjects.ts'

/** The key-encryption key alone: it is there, and nobody else can take it. */
export function checkKek(subject: Subject): Check {
  const { config } = subject
  return {
    name: 'KEK',
    same: [config.KEK_PROVIDER, config.KEK_FILE, config.KEK_COMMAND, config.KMS_KEY_ARN].join(),
    async run() {
      const kek = await open(subject)
      if (kek === undefined) return [skip('what names the KEK is missing or wrong')]
      const { KEK_PROVIDER: provider, KEK_FILE: file } = config
      if (provider === 'command') return [ok(`KEK_COMMAND prints a key, ${kek.id}`)]
      // Whether KMS answers shows when it opens the stored keys.
      if (provider === 'aws-kms') return [ok(`KMS_KEY_ARN names a key, ${kek.id}`)]
      const mode = (statSync(file!).mode & 0o777).toString(8).padStart(4, '0')
      return [ok(`KEK_FILE can be read and has mode ${mode}`)]
    },
  }
}

/** The stored keys: the KEK opens all of them, and none is missing that the process needs. */
export function checkKeys(subject: Subject): Check {
  const { name, config } = subject
  return {
    name: 'keys',
    run: () =>
      whenConnected(subject, async ({ database }) => {
        if (config.TENANT === undefined) return [skip('TENANT is wrong')]
        const keys = await openKeys(subject, database)
        if (keys === undefined) return [skip('the KEK cannot be opened')]
        const fields = readFields(config)
        // Each throws where a key is missing.
        createTokenizeMessages(createTokenizer(keys, fields), createSealQuarantined(keys))
        if (name === 'api') keys.signer(logName({ ...config, TENANT: config.TENANT }))
        return [ok('the KEK opens every stored key, and no field lacks one')]
      }),
  }
}

/** Whether the recovery recipients could open the keys as they are. Only `migrate` knows who they are to be. */
export function checkRecovery(subject: Subject): Check {
  return {
    name: 'recovery of keys',
    run: () =>
      whenConnected(subject, async ({ database, server }) => {
        // Told by the check of its setup.
        if (!server.isMigrated) return []
        const { RECOVERY_RECIPIENTS: configured } = subject.config
        const store = createKeyRecoveryStore(database)
        const [recovery, stored] = [await store.readRecovery(), await store.readStoredKeys()]
        const state = judgeRecovery(recovery, stored, listRecipients(configured ?? ''))
        return [recoveryFindings[state](recovery?.recipients.length ?? 0)]
      }),
  }
}

/** Old keys, destructions that are due, and processes that do not go by the stored keys. Only `migrate` may read who they are. */
export function checkKeyLifecycle(subject: Subject): Check {
  return {
    name: 'age and use of keys',
    run: () =>
      whenConnected(subject, async ({ database, server }) => {
        if (!server.isMigrated) return []
        const { KEY_MAX_AGE_DAYS: maxAgeDays } = subject.config
        const [records, stored] = [await createKeyRecordReader(database)(), await createKeyReader(database).readKeys()]
        const now = new Date()
        const aged = maxAgeDays === undefined ? [] : findAged(records, maxAgeDays, now)
        const late = findLaggards(await createFollowerReader(database)(), stored)
        const warnings = [
          ...aged.map(key => warn(`${formatKeyName(key)} has written for too long`, 'Run `tokenvault keys rotate`.')),
          ...planDueDestructions(records, now).map(key =>
            warn(`the destruction of ${formatKeyName(key)} is due`, 'Run `tokenvault keys destroy --due`.'),
          ),
          ...late.map(({ process }) =>
            warn(`a running ${process} does not go by the stored keys`, 'Its log says why: keys_not_followed.'),
          ),
        ]
        return warnings.length > 0 ? warnings : [ok('no key is too old, and every running process goes by them')]
      }),
  }
}

const makeRecovery = 'Run `tokenvault migrate` with RECOVERY_RECIPIENTS (docs/keys.md).'
const recoveryFindings: Readonly<Record<RecoveryState, (recipients: number) => Finding>> = {
  current: recipients => ok(`${recipients} recipients can open every key without the KEK`),
  none: () => warn('RECOVERY_RECIPIENTS is set, and no recovery is stored', makeRecovery),
  not_configured: () => warn('no recipients: whoever loses the KEK loses every value', makeRecovery),
  keys_outdated: () => warn('keys were changed since their recovery was made', makeRecovery),
  recipients_outdated: () => warn('the recovery was made for other recipients than are configured', makeRecovery),
}

/** What the tokens of each field were made by is what is configured. */
export function checkFieldRecord(subject: Subject): Check {
  return {
    name: 'recorded fields',
    run: () =>
      whenConnected(subject, async ({ database, server }) => {
        if (!server.isMigrated) return [skip('the database was not migrated yet')]
        checkRecordedFields(readFields(subject.config), await createFieldRecordReader(database).readRecordedFields())
        return [ok('rules and formats of the fields are those that their tokens were made by')]
      }),
  }
}

/**
 * All stored keys. @returns undefined where the KEK cannot be opened, which is told by its own check
 *
 * @throws TokenvaultError as openKeyset; `keyset_incomplete`
 */
export async function openKeys(subject: Subject, database: TokenvaultDatabase): Promise<FieldKeys | undefined> {
  const { TENANT: tenant } = subject.config
  let kek: KeyEncryptionKey | undefined
  try {
    kek = await open(subject)
  } catch {
    return undefined
  }
  if (kek === undefined || tenant === undefined) return undefined
  return new FieldKeys(await openKeyset(createKeyReader(database), kek, tenant), tenant)
}

/** @throws TokenvaultError `kek_unavailable` */
async function open({ config, environment, problems }: Subject): Promise<KeyEncryptionKey | undefined> {
  const { KEK_PROVIDER: provider, TENANT: tenant } = config
  if (provider === undefined || tenant === undefined || problems.some(problem => /^(KEK|KMS)_/.test(problem)))
    return undefined
  return openKek({ ...config, KEK_PROVIDER: provider, TENANT: tenant }, environment)
}
