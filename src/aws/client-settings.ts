import { join } from 'node:path'
import { loadSharedConfigFiles } from '@smithy/core/config'
import { TokenvaultError } from '../errors.ts'
import { isEmulator, isHostOf, isStandardSqsHost, regionOfHost } from './region.ts'

export type AwsService = 'sqs' | 's3' | 'kms'

/** What decides, of what the process was configured with. */
export interface AwsVariables {
  readonly AWS_REGION?: string | undefined
  readonly AWS_DEFAULT_REGION?: string | undefined
  readonly AWS_ENDPOINT_URL?: string | undefined
  readonly AWS_ENDPOINT_URL_SQS?: string | undefined
  readonly AWS_ENDPOINT_URL_S3?: string | undefined
  readonly AWS_ENDPOINT_URL_KMS?: string | undefined
}

/** Credentials that do not change. */
export interface AwsCredentials {
  readonly accessKeyId: string
  readonly secretAccessKey: string
  readonly sessionToken?: string
}

/** Which server a client calls, for which region it signs, and as whom. */
export interface AwsSettings {
  readonly region: string
  /** The SDK's own, for the region, when absent. */
  readonly endpoint?: string | undefined
  /** The SDK's default provider chain when absent. */
  readonly credentials?: AwsCredentials | undefined
  /** `proxyEnv` of the HTTP agents; none when absent. */
  readonly proxies?: Readonly<Record<string, string | undefined>> | undefined
}

type Environment = Readonly<Record<string, string | undefined>>
type Profile = Readonly<Record<string, string | undefined>>

export interface AwsSettingsOptions {
  readonly variables: AwsVariables
  /** For what only the SDK reads: profiles, keys, FIPS. Files are looked for only where it says so, or has a HOME. */
  readonly environment: Environment
  /** Of SQS: says where the queue is. */
  readonly queueUrl?: string | undefined
  readonly proxies?: AwsSettings['proxies']
}

/**
 * Settings of one client, decided as the SDKs of AWS do:
 *
 * - endpoint: `AWS_ENDPOINT_URL_<SERVICE>`, `AWS_ENDPOINT_URL`, the profile's `services` section, its `endpoint_url`, the host of
 *   the queue's URL, the region's own. `AWS_IGNORE_CONFIGURED_ENDPOINT_URLS=true` passes over the first four;
 * - region: the queue's URL or the endpoint, where it carries one; `AWS_REGION`, `AWS_DEFAULT_REGION`, the profile's `region`;
 *   us-east-1 for servers that are not of AWS;
 * - credentials: the SDK's chain. `AWS_PROFILE` wins over `AWS_ACCESS_KEY_ID`; where nobody named any, a server over plain
 *   http that is not of AWS is an emulator, which takes any.
 *
 * @throws TokenvaultError `config_invalid` where two of these contradict each other, or none names a region
 */
export async function readAwsSettings(service: AwsService, options: AwsSettingsOptions): Promise<AwsSettings> {
  const { variables, environment, queueUrl, proxies } = options
  const profiles = await readProfiles(environment)
  const profile = profiles[environment['AWS_PROFILE'] || 'default'] ?? {}
  const configured = readEndpoint(service, options, profile, profiles)
  const region = decideRegion(service, variables, profile, [
    ...(queueUrl === undefined ? [] : [{ name: 'SQS_QUEUE_URL', url: queueUrl }]),
    ...(configured === undefined ? [] : [configured]),
  ])
  const endpoint = decideEndpoint(configured, queueUrl, region, {
    fips: isOn(environment['AWS_USE_FIPS_ENDPOINT'] || profile['use_fips_endpoint']),
    dualStack: isOn(environment['AWS_USE_DUALSTACK_ENDPOINT'] || profile['use_dualstack_endpoint']),
  })
  const credentials = readCredentials(environment, profile, endpoint)
  return { region, endpoint, credentials, proxies }
}

/** Profiles of ~/.aws/config and ~/.aws/credentials by name, and sections of services as `services.<name>`. */
async function readProfiles(environment: Environment): Promise<Readonly<Record<string, Profile>>> {
  const home = environment['HOME'] || environment['USERPROFILE']
  const find = (variable: string, name: string) =>
    environment[variable] || (home === undefined || home === '' ? undefined : join(home, '.aws', name))
  const configFilepath = find('AWS_CONFIG_FILE', 'config')
  const filepath = find('AWS_SHARED_CREDENTIALS_FILE', 'credentials')
  if (configFilepath === undefined && filepath === undefined) return {}
  // The SDK's reader takes an absent path for the user's own file.
  const none = '/dev/null'
  const files = await loadSharedConfigFiles({ configFilepath: configFilepath ?? none, filepath: filepath ?? none })
  const names = [...Object.keys(files.configFile), ...Object.keys(files.credentialsFile)]
  return Object.fromEntries(names.map(name => [name, { ...files.credentialsFile[name], ...files.configFile[name] }]))
}

/** An endpoint, and what names it. */
interface Named {
  readonly name: string
  readonly url: string
}

function readEndpoint(
  service: AwsService,
  { variables, environment }: AwsSettingsOptions,
  profile: Profile,
  profiles: Readonly<Record<string, Profile>>,
): Named | undefined {
  const isIgnored = environment['AWS_IGNORE_CONFIGURED_ENDPOINT_URLS'] || profile['ignore_configured_endpoint_urls']
  if (isOn(isIgnored)) return undefined
  const ofService = `AWS_ENDPOINT_URL_${service.toUpperCase()}` as keyof AwsVariables
  const section = profile['services'] === undefined ? undefined : profiles[`services.${profile['services']}`]
  const candidates = [
    { name: ofService, url: variables[ofService] },
    { name: 'AWS_ENDPOINT_URL', url: variables.AWS_ENDPOINT_URL },
    { name: 'endpoint_url of the profile', url: section?.[`${service}.endpoint_url`] ?? profile['endpoint_url'] },
  ]
  const found = candidates.find((candidate): candidate is Named => candidate.url !== undefined)
  if (found !== undefined && !/^https?:$/.test(URL.parse(found.url)?.protocol ?? ''))
    throw new TokenvaultError('config_invalid', `${found.name} is not an http: or https: URL`)
  return found
}

/** @param places where the service is; each may carry a region */
function decideRegion(
  service: AwsService,
  variables: AwsVariables,
  profile: Profile,
  places: readonly Named[],
): string {
  const carried = places.flatMap(({ name, url }) => {
    const region = regionOfHost(new URL(url).hostname)
    return region === undefined ? [] : [{ name, region }]
  })
  const name = (['AWS_REGION', 'AWS_DEFAULT_REGION'] as const).find(name => variables[name] !== undefined)
  // A profile's region is what its owner usually works with, and no contradiction. A variable is said for this process.
  const said = name === undefined ? [] : [{ name, region: variables[name]! }]
  const [first, ...others] = [...carried, ...said]
  const other = others.find(({ region }) => region !== first?.region)
  if (first !== undefined && other !== undefined) {
    const problem = `${other.name} is not for the region of ${first.name}, ${first.region}`
    throw new TokenvaultError('config_invalid', `${problem}; correct one of them, or leave ${other.name} out`)
  }
  const region = first?.region ?? profile['region']
  if (region !== undefined) return region
  if (places.length > 0) return 'us-east-1'
  throw new TokenvaultError('config_invalid', `AWS_REGION is not set (Region of the ${service} that is called)`)
}

function decideEndpoint(
  configured: Named | undefined,
  queueUrl: string | undefined,
  region: string,
  asked: { readonly fips: boolean; readonly dualStack: boolean },
): string | undefined {
  const isAsked = asked.fips || asked.dualStack
  const place = configured ?? (queueUrl === undefined ? undefined : { name: 'SQS_QUEUE_URL', url: queueUrl })
  if (place === undefined) return undefined
  const { hostname, origin } = new URL(place.url)
  if (!isAsked || isHostOf(hostname, region, asked)) return place === configured ? place.url : origin
  if (place !== configured && isStandardSqsHost(hostname, region)) return undefined
  const names = [asked.fips ? 'AWS_USE_FIPS_ENDPOINT' : [], asked.dualStack ? 'AWS_USE_DUALSTACK_ENDPOINT' : []].flat()
  throw new TokenvaultError('config_invalid', `${names.join(' and ')} cannot be kept by the host of ${place.name}`)
}

/** Where one of these is set, somebody named credentials: the SDK's chain finds them, or says why not. */
const credentialVariables = [
  'AWS_PROFILE',
  'AWS_CONTAINER_CREDENTIALS_RELATIVE_URI',
  'AWS_CONTAINER_CREDENTIALS_FULL_URI',
  'AWS_WEB_IDENTITY_TOKEN_FILE',
]
const credentialSettings = /^(aws_access_key_id|role_arn|credential_process|sso_\w+|login_session)$/

function readCredentials(
  environment: Environment,
  profile: Profile,
  endpoint: string | undefined,
): AwsCredentials | undefined {
  const { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey } = environment
  const sessionToken = environment['AWS_SESSION_TOKEN'] || undefined
  if (accessKeyId && secretAccessKey && !environment['AWS_PROFILE'])
    return { accessKeyId, secretAccessKey, ...(sessionToken === undefined ? {} : { sessionToken }) }
  const isNamed =
    credentialVariables.some(name => environment[name]) ||
    Object.keys(profile).some(name => credentialSettings.test(name))
  // Most machines that run an emulator have no credentials, and would wait for those of EC2.
  return !isNamed && endpoint !== undefined && isEmulator(new URL(endpoint))
    ? { accessKeyId: 'emulator', secretAccessKey: 'emulator' }
    : undefined
}

function isOn(text: string | undefined): boolean {
  return text?.toLowerCase() === 'true'
}

/** Without a logger of its own the SDK writes its warnings to the console. */
const silent = { trace() {}, debug() {}, info() {}, warn() {}, error() {} }

/** How long a client waits, in milliseconds, and how many connections it holds. */
export interface AwsClientLimits {
  readonly connectMilliseconds: number
  /** To the last header of the reply. */
  readonly requestMilliseconds: number
  /** Without a byte on the connection, so that a body that never comes is given up. */
  readonly idleMilliseconds: number
  readonly maxSockets: number
}

/** What every client of the SDK is made with: it cannot hang, and says nothing on the console. */
export function awsClientConfig({ region, endpoint, credentials, proxies }: AwsSettings, limits: AwsClientLimits) {
  const { connectMilliseconds, requestMilliseconds, idleMilliseconds, maxSockets } = limits
  const agent = { keepAlive: true, maxSockets, ...(proxies === undefined ? {} : { proxyEnv: proxies }) }
  return {
    region,
    ...(endpoint === undefined ? {} : { endpoint, useFipsEndpoint: false, useDualstackEndpoint: false }),
    ...(credentials === undefined ? {} : { credentials }),
    // Without `info` the SDK does not collect what it would say there: every message of every call.
    logger: { ...silent, info: undefined } as unknown as typeof silent,
    requestHandler: {
      connectionTimeout: connectMilliseconds,
      requestTimeout: requestMilliseconds,
      // Otherwise requestTimeout only warns, and a hung socket hangs the process.
      throwOnRequestTimeout: true,
      socketTimeout: idleMilliseconds,
      httpAgent: agent,
      httpsAgent: agent,
      logger: silent,
    },
  }
}
