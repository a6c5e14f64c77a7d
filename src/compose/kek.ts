import type { Environment } from '../config/load.ts'
import type { Config } from '../config/variables.ts'
import { openLocalKek } from '../kms/local.ts'
import type { KeyEncryptionKey } from '../vault/keys/ports.ts'
import { composeAwsSettings } from './aws.ts'

/** The variables that say who holds the key-encryption key, and where. */
export type KekConfig = Pick<
  Config<'migrate'>,
  | 'KEK_PROVIDER'
  | 'KEK_FILE'
  | 'KEK_IDENTITY_FILE'
  | 'KEK_COMMAND'
  | 'KMS_KEY_ARN'
  | 'TENANT'
  | 'AWS_ENDPOINT_URL'
  | 'AWS_ENDPOINT_URL_KMS'
>

type Opener = (config: KekConfig, environment: Environment) => Promise<KeyEncryptionKey>

/**
 * How each provider is opened: one entry for every name that KEK_PROVIDER takes. Configuration has what its own needs. The
 * libraries of the others are not even loaded.
 */
const openers: Readonly<Record<KekConfig['KEK_PROVIDER'], Opener>> = {
  async local({ KEK_FILE: file, KEK_IDENTITY_FILE: identity }) {
    if (identity === undefined) return openLocalKek(file!)
    const { openAgeKek } = await import('../kms/age.ts')
    return openAgeKek(file!, identity)
  },
  async 'aws-kms'(config, environment) {
    const { createAwsKmsKek } = await import('../kms/aws-kms.ts')
    const { KMS_KEY_ARN: keyArn = '', TENANT: tenant, AWS_ENDPOINT_URL, AWS_ENDPOINT_URL_KMS } = config
    // The key says where it is, whatever region the process works in.
    const AWS_REGION = keyArn.split(':')[3]
    const variables = { AWS_REGION, AWS_ENDPOINT_URL, AWS_ENDPOINT_URL_KMS }
    return createAwsKmsKek({ ...(await composeAwsSettings('kms', variables, environment)), keyArn, tenant })
  },
  async command({ KEK_COMMAND: command }, environment) {
    const { openCommandKek } = await import('../kms/command.ts')
    return openCommandKek(command!, { environment })
  },
}

/**
 * Opens the key-encryption key that the configuration names: the only place where a provider is chosen.
 *
 * @param environment what only the SDK of AWS reads, and the environment of KEK_COMMAND
 * @throws TokenvaultError `kek_unavailable`; `config_invalid` as composeAwsSettings
 */
export function openKek(config: KekConfig, environment: Environment): Promise<KeyEncryptionKey> {
  return openers[config.KEK_PROVIDER](config, environment)
}
