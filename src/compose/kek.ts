import type { Environment } from '../config/load.ts'
import type { Config } from '../config/variables.ts'
import { TokenvaultError } from '../errors.ts'
import { openLocalKek } from '../kms/local.ts'
import type { KeyEncryptionKey } from '../vault/keys/ports.ts'
import { composeAwsSettings } from './aws.ts'

/** The variables that say who holds the key-encryption key, and where; and the one that takes over. */
export type KekConfig = Pick<
  Config<'migrate'>,
  KekVariable | `NEXT_${KekVariable}` | 'TENANT' | 'AWS_ENDPOINT_URL' | 'AWS_ENDPOINT_URL_KMS'
>

type KekVariable = 'KEK_PROVIDER' | 'KEK_FILE' | 'KEK_IDENTITY_FILE' | 'KEK_COMMAND' | 'KMS_KEY_ARN'

type Provider = KekConfig['KEK_PROVIDER']

/** One KEK, and what is needed to open it. */
interface KekPlace extends Pick<KekConfig, 'TENANT' | 'AWS_ENDPOINT_URL' | 'AWS_ENDPOINT_URL_KMS'> {
  readonly provider: Provider
  readonly file?: string | undefined
  readonly identity?: string | undefined
  readonly command?: string | undefined
  readonly keyArn?: string | undefined
}

type Opener = (place: KekPlace, environment: Environment) => Promise<KeyEncryptionKey>

/**
 * How each provider is opened: one entry for every name that KEK_PROVIDER takes. Configuration has what its own needs. The
 * libraries of the others are not even loaded.
 */
const openers: Readonly<Record<Provider, Opener>> = {
  async local({ file, identity }) {
    if (identity === undefined) return openLocalKek(file!)
    const { openAgeKek } = await import('../kms/age.ts')
    return openAgeKek(file!, identity)
  },
  async 'aws-kms'({ keyArn = '', TENANT: tenant, AWS_ENDPOINT_URL, AWS_ENDPOINT_URL_KMS }, environment) {
    const { createAwsKmsKek } = await import('../kms/aws-kms.ts')
    // The key says where it is, whatever region the process works in.
    const AWS_REGION = keyArn.split(':')[3]
    const variables = { AWS_REGION, AWS_ENDPOINT_URL, AWS_ENDPOINT_URL_KMS }
    return createAwsKmsKek({ ...(await composeAwsSettings('kms', variables, environment)), keyArn, tenant })
  },
  async command({ command }, environment) {
    const { openCommandKek } = await import('../kms/command.ts')
    return openCommandKek(command!, { environment })
  },
}

/**
 * Opens the key-encryption key that the configuration names: the only place where a provider is chosen. Where another one is to
 * take over, either of them unwraps, and this one wraps.
 *
 * @param environment what only the SDK of AWS reads, and the environment of KEK_COMMAND
 * @throws TokenvaultError `kek_unavailable`; `config_invalid` as composeAwsSettings
 */
export async function openKek(config: KekConfig, environment: Environment): Promise<KeyEncryptionKey> {
  const kek = await open(
    {
      ...config,
      provider: config.KEK_PROVIDER,
      file: config.KEK_FILE,
      identity: config.KEK_IDENTITY_FILE,
      command: config.KEK_COMMAND,
      keyArn: config.KMS_KEY_ARN,
    },
    environment,
  )
  if (config.NEXT_KEK_PROVIDER === undefined) return kek
  let next: Promise<KeyEncryptionKey> | undefined
  return {
    ...kek,
    async unwrap(wrapped, associatedData) {
      try {
        return await kek.unwrap(wrapped, associatedData)
      } catch (error) {
        if (!(error instanceof TokenvaultError) || error.code !== 'kek_mismatch') throw error
        // Asked only where the present one does not open the keys.
        next ??= openNextKek(config, environment)
        return (await next).unwrap(wrapped, associatedData)
      }
    },
  }
}

/**
 * Opens the key-encryption key that takes over.
 *
 * @throws TokenvaultError as openKek; `usage` where NEXT_KEK_PROVIDER is not set
 */
export async function openNextKek(config: KekConfig, environment: Environment): Promise<KeyEncryptionKey> {
  const { NEXT_KEK_PROVIDER: provider } = config
  if (provider === undefined)
    throw new TokenvaultError('usage', 'NEXT_KEK_PROVIDER is not set: it names the key-encryption key that takes over')
  return open(
    {
      ...config,
      provider,
      file: config.NEXT_KEK_FILE,
      identity: config.NEXT_KEK_IDENTITY_FILE,
      command: config.NEXT_KEK_COMMAND,
      keyArn: config.NEXT_KMS_KEY_ARN,
    },
    environment,
  )
}

function open(place: KekPlace, environment: Environment): Promise<KeyEncryptionKey> {
  return openers[place.provider](place, environment)
}
