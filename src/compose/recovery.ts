import { type Config, listRecipients } from '../config/variables.ts'
import { TokenvaultError } from '../errors.ts'
import { encryptToRecipients } from '../kms/age.ts'
import { createKeyRecoveryStore } from '../store/key-recovery.ts'
import type { TokenvaultDatabase } from '../store/postgres/database.ts'
import type {
  KeyEncryptionKey,
  KeyRecovery,
  KeyTransition,
  StoredKey,
  StoredKeyRecovery,
  WrappedKey,
} from '../vault/keys/ports.ts'
import { digestKeys, judgeRecovery, planStoredKeys, type RecoveryState, writeRecovery } from '../vault/keys/recovery.ts'
import { unwrapKeys } from '../vault/keys/wrapped-keys.ts'

/** What becomes of the recovery of a keyset when its keys change. */
export interface KeyRecoverer {
  /**
   * The recovery of the keyset as it is after a change, to be stored with it.
   * @returns undefined where no recipients are configured @throws TokenvaultError `kek_mismatch`, `store_unavailable`
   */
  after(change: {
    readonly added?: readonly WrappedKey[] | undefined
    readonly transitions?: readonly KeyTransition[] | undefined
    readonly rewrapped?: readonly WrappedKey[] | undefined
  }): Promise<KeyRecovery | undefined>
  /** Makes one where there is none, or where keys or recipients are others than it was made of. @returns whether it did */
  ensure(): Promise<boolean>
  readState(): Promise<{ readonly state: RecoveryState; readonly recovery: StoredKeyRecovery | undefined }>
}

/** How often `ensure` begins anew where others change keys meanwhile. */
const attempts = 5

/**
 * @param deps.kek opens every key, also one that a change puts under the KEK that takes over
 * @throws TokenvaultError `config_invalid` for a recipient that is none, which it does not repeat
 */
export async function createKeyRecoverer(
  config: Pick<Config<'migrate'>, 'RECOVERY_RECIPIENTS' | 'TENANT'>,
  deps: { readonly database: TokenvaultDatabase; readonly kek: KeyEncryptionKey },
): Promise<KeyRecoverer> {
  const { database, kek } = deps
  const { TENANT: tenant } = config
  const recipients = listRecipients(config.RECOVERY_RECIPIENTS ?? '')
  // Before anything is changed.
  if (recipients.length > 0) await encrypt(Buffer.alloc(0), recipients)
  const store = createKeyRecoveryStore(database)
  const make = async (stored: readonly StoredKey[]): Promise<KeyRecovery> => {
    const held = stored.flatMap(({ wrapped, ...key }) => (wrapped === null ? [] : [{ ...key, wrapped, kekId: kek.id }]))
    const destroyed = stored.filter(({ wrapped }) => wrapped === null)
    const keyset = await unwrapKeys(held, kek, tenant)
    const text = writeRecovery({ keyset, destroyed, tenant, madeAt: new Date() })
    try {
      return { recipients, keysetDigest: digestKeys(stored), sealed: await encrypt(text, recipients) }
    } finally {
      text.fill(0)
    }
  }
  const readState = async () => {
    const recovery = await store.readRecovery()
    const stored = await store.readStoredKeys()
    return { state: judgeRecovery(recovery, stored, recipients), recovery, stored }
  }
  return {
    async after(change) {
      return recipients.length === 0 ? undefined : make(planStoredKeys(await store.readStoredKeys(), change))
    },
    async ensure() {
      for (let attempt = 1; recipients.length > 0; attempt++) {
        const { state, stored } = await readState()
        if (state === 'current') return false
        try {
          await store.replaceRecovery(await make(stored))
          return true
        } catch (error) {
          const isRace = error instanceof TokenvaultError && error.code === 'keys_changed'
          if (!isRace || attempt === attempts) throw error
        }
      }
      return false
    },
    async readState() {
      const { state, recovery } = await readState()
      return { state, recovery }
    },
  }
}

async function encrypt(bytes: Uint8Array, recipients: readonly string[]): Promise<string> {
  try {
    return await encryptToRecipients(bytes, recipients)
  } catch (error) {
    const why = error instanceof TokenvaultError ? error.message.replace(/^usage: /, '') : 'they cannot stand together'
    throw new TokenvaultError('config_invalid', `RECOVERY_RECIPIENTS: ${why}`)
  }
}
