import type { Config } from '../config/variables.ts'
import { openLocalKek } from '../kms/local.ts'
import type { KeyEncryptionKey } from '../vault/keys/ports.ts'

/** The variables that say who holds the key-encryption key, and where. */
type KekConfig = Pick<Config<'migrate'>, 'KEK_PROVIDER' | 'KEK_FILE'>

/** How each provider is opened: one entry for every name that KEK_PROVIDER takes. */
const openers: Readonly<Record<KekConfig['KEK_PROVIDER'], (config: KekConfig) => KeyEncryptionKey>> = {
  local: config => openLocalKek(config.KEK_FILE),
}

/**
 * Opens the key-encryption key that the configuration names: the only place where a provider is chosen.
 *
 * @throws TokenvaultError `kek_unavailable`
 */
export function openKek(config: KekConfig): KeyEncryptionKey {
  return openers[config.KEK_PROVIDER](config)
}
