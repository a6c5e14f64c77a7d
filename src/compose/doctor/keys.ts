import { statSync } from 'node:fs'
import { createTokenizeMessages } from '../../ingest/batch/tokenize-messages.ts'
import { createKeyReader } from '../../store/keys.ts'
import type { TokenvaultDatabase } from '../../store/postgres/database.ts'
import { FieldKeys } from '../../vault/keys/field-keys.ts'
import type { KeyEncryptionKey } from '../../vault/keys/ports.ts'
import { openKeyset } from '../../vault/keys/wrapped-keys.ts'
import { createSealQuarantined } from '../../vault/quarantine/sealed-bodies.ts'
import { createTokenizer } from '../../vault/tokens/tokenizer.ts'
import { readFields } from '../fields.ts'
import { openKek } from '../kek.ts'
import { logName } from '../vault.ts'
import { type Check, ok, skip } from './findings.ts'
import { type Subject, whenConnected } from './subjects.ts'

/** The key-encryption key alone: it is there, of the right length, and nobody else can take it. */
export function checkKek({ config }: Subject): Check {
  return {
    name: 'KEK',
    same: config.KEK_FILE ?? '',
    async run() {
      const kek = open(config)
      if (kek === undefined) return [skip('KEK_FILE is missing or wrong')]
      const mode = (statSync(config.KEK_FILE!).mode & 0o777).toString(8).padStart(4, '0')
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

/**
 * All stored keys. @returns undefined where the KEK cannot be opened, which is told by its own check
 *
 * @throws TokenvaultError as openKeyset; `keyset_incomplete`
 */
export async function openKeys({ config }: Subject, database: TokenvaultDatabase): Promise<FieldKeys | undefined> {
  const { TENANT: tenant } = config
  let kek: KeyEncryptionKey | undefined
  try {
    kek = open(config)
  } catch {
    return undefined
  }
  if (kek === undefined || tenant === undefined) return undefined
  return new FieldKeys(await openKeyset(createKeyReader(database), kek, tenant), tenant)
}

/** @throws TokenvaultError `kek_unavailable` */
function open({ KEK_PROVIDER: provider, KEK_FILE: file }: Subject['config']): KeyEncryptionKey | undefined {
  return provider === undefined || file === undefined ? undefined : openKek({ KEK_PROVIDER: provider, KEK_FILE: file })
}
