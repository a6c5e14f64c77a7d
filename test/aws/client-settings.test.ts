import { createHash } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { regionOfHost } from '../../src/aws/region.ts'
import { composeSink } from '../../src/compose/evidence.ts'
import { composeQueue } from '../../src/compose/queue.ts'
import { type Environment, loadConfig } from '../../src/config/load.ts'
import { type SeenCall, startAwsServer } from '../helpers/aws/aws-server.ts'
import { temporaryDirectory } from '../helpers/embedded/embedded-directory.ts'
import { createTestLog } from '../helpers/queue/server.ts'

const server = await startAwsServer(t)
const home = temporaryDirectory(t)
const file = (name: string, text: string) => {
  writeFileSync(join(home, name), text)
  return join(home, name)
}
mkdirSync(join(home, '.aws/sso/cache'), { recursive: true })
const other = 'http://127.0.0.1:9'
const config = file(
  'config',
  `[default]
region = ap-south-1
[profile named]
region = eu-north-1
[profile everywhere]
endpoint_url = ${server.url}
region = eu-north-1
[profile by-service]
services = local
endpoint_url = ${other}
[services local]
sqs =
  endpoint_url = ${server.url}
s3 =
  endpoint_url = ${server.url}
[profile sso]
sso_session = company
sso_account_id = 123456789012
sso_role_name = Reader
[sso-session company]
sso_region = eu-west-1
sso_start_url = https://company.awsapps.com/start
[profile process]
credential_process = printf '{"Version":1,"AccessKeyId":"PROCESS","SecretAccessKey":"s"}'
`,
)
const credentials = file(
  'credentials',
  `[default]
aws_access_key_id = DEFAULT
aws_secret_access_key = s
[named]
aws_access_key_id = NAMED
aws_secret_access_key = s
aws_session_token = t
[everywhere]
aws_access_key_id = EVERYWHERE
aws_secret_access_key = s
[by-service]
aws_access_key_id = BYSERVICE
aws_secret_access_key = s
`,
)
file(
  `.aws/sso/cache/${createHash('sha1').update('company').digest('hex')}.json`,
  JSON.stringify({ accessToken: 'x', expiresAt: '2099-01-01T00:00:00Z', region: 'eu-west-1' }),
)
const files = { AWS_CONFIG_FILE: config, AWS_SHARED_CREDENTIALS_FILE: credentials }
const keys = { AWS_ACCESS_KEY_ID: 'VARIABLE', AWS_SECRET_ACCESS_KEY: 's' }
const proxy = { HTTP_PROXY: server.url, HTTPS_PROXY: server.url }
/** Nothing of AWS is here, so no call can find credentials of an instance. */
const noInstance = { AWS_EC2_METADATA_DISABLED: 'true' }
const host = new URL(server.url).host

/** A queue that is not at the server: only what the environment says leads there. */
const elsewhere = `${other}/000000000000/q`
const here = `${server.url}/000000000000/q`
const inIreland = 'http://sqs.eu-west-1.amazonaws.com/123456789012/q'

const required = {
  api: {
    DATABASE_URL: 'postgresql://localhost/x',
    KEK_FILE: 'kek',
    JWT_ISSUER: 'i',
    JWT_AUDIENCE: 'a',
    JWKS_URL: 'http://localhost/',
    CHECKPOINT_URL: 's3://evidence/logs',
  },
  worker: { DATABASE_URL: 'postgresql://localhost/x', KEK_FILE: 'kek' },
}

/** Makes one call with nothing but the given environment, as the process would, and returns what the server saw of it. */
async function callWith(variables: Environment, call: (environment: Environment) => Promise<unknown>) {
  const before = process.env
  const environment = { PATH: before['PATH'], HOME: home, ...noInstance, ...variables }
  process.env = { ...environment }
  server.calls.length = 0
  try {
    // What the server answers to the call does not matter.
    await call(environment).catch((error: unknown) => {
      if (error instanceof Error && 'code' in error && error.code === 'config_invalid') throw error
    })
    return server.calls[0]
  } finally {
    process.env = before
  }
}

const callQueue = async (environment: Environment) => {
  const queue = await composeQueue(loadConfig('worker', environment), createTestLog().log, environment)
  await queue.depth().finally(() => queue.close())
}

const callBucket = async (environment: Environment) => {
  const sink = await composeSink(loadConfig('api', environment), environment)
  await sink!.publish({ treeSize: 1, note: 'note' }).finally(() => sink!.close())
}

type Seen = Partial<SeenCall>

const queueCases: readonly (readonly [title: string, url: string, environment: Environment, seen: Seen | RegExp])[] = [
  // Which region.
  [
    'the URL says the region',
    inIreland,
    { ...proxy, ...keys },
    { host: 'sqs.eu-west-1.amazonaws.com', region: 'eu-west-1' },
  ],
  ['AWS_REGION may repeat it', inIreland, { ...proxy, ...keys, AWS_REGION: 'eu-west-1' }, { region: 'eu-west-1' }],
  [
    'AWS_REGION may not contradict it',
    inIreland,
    { AWS_REGION: 'eu-west-2' },
    /^AWS_REGION is not for the region of SQS_QUEUE_URL, eu-west-1;/,
  ],
  [
    'nor may AWS_DEFAULT_REGION',
    inIreland,
    { AWS_DEFAULT_REGION: 'eu-west-2' },
    /^AWS_DEFAULT_REGION is not for the region of SQS_QUEUE_URL/,
  ],
  [
    'which counts only without AWS_REGION',
    inIreland,
    { ...proxy, ...keys, AWS_REGION: 'eu-west-1', AWS_DEFAULT_REGION: 'eu-west-2' },
    { region: 'eu-west-1' },
  ],
  [
    "a profile's region is passed over",
    inIreland,
    { ...proxy, ...files, AWS_PROFILE: 'named' },
    { region: 'eu-west-1', accessKeyId: 'NAMED' },
  ],
  [
    'an endpoint of another region is refused',
    inIreland,
    { AWS_ENDPOINT_URL: 'https://vpce-1.sqs.us-east-1.vpce.amazonaws.com' },
    /^AWS_ENDPOINT_URL is not for the region of SQS_QUEUE_URL/,
  ],
  [
    'a server that is not of AWS: AWS_REGION',
    here,
    { ...keys, AWS_REGION: 'eu-west-2', AWS_DEFAULT_REGION: 'x' },
    { region: 'eu-west-2' },
  ],
  ['then AWS_DEFAULT_REGION', here, { ...keys, ...files, AWS_DEFAULT_REGION: 'eu-west-3' }, { region: 'eu-west-3' }],
  ['then the default profile', here, { ...keys, ...files }, { region: 'ap-south-1' }],
  ['then us-east-1', here, keys, { region: 'us-east-1', host, service: 'sqs' }],
  ['AWS_REGION_FILE', here, { ...keys, AWS_REGION_FILE: file('region', 'eu-west-2\n') }, { region: 'eu-west-2' }],
  // Which server.
  ['AWS_ENDPOINT_URL_SQS', elsewhere, { ...keys, AWS_ENDPOINT_URL_SQS: server.url, AWS_ENDPOINT_URL: other }, { host }],
  [
    'AWS_ENDPOINT_URL',
    elsewhere,
    { ...keys, ...files, AWS_ENDPOINT_URL: server.url, AWS_PROFILE: 'by-service' },
    { host },
  ],
  ["the profile's services", elsewhere, { ...files, AWS_PROFILE: 'by-service' }, { host, accessKeyId: 'BYSERVICE' }],
  [
    "the profile's endpoint",
    elsewhere,
    { ...files, AWS_PROFILE: 'everywhere' },
    { host, accessKeyId: 'EVERYWHERE', region: 'eu-north-1' },
  ],
  [
    'all of these are passed over',
    here,
    { ...keys, AWS_ENDPOINT_URL_SQS: other, AWS_IGNORE_CONFIGURED_ENDPOINT_URLS: 'true' },
    { host },
  ],
  [
    'the region stays that of the URL',
    inIreland,
    { ...keys, AWS_ENDPOINT_URL_SQS: server.url },
    { host, region: 'eu-west-1' },
  ],
  [
    'FIPS is asked of the SDK',
    inIreland.replace('http:', 'https:'),
    { ...proxy, ...keys, AWS_USE_FIPS_ENDPOINT: 'true' },
    { host: 'sqs-fips.eu-west-1.amazonaws.com:443' },
  ],
  [
    'dual-stack is asked of the SDK',
    inIreland,
    { ...proxy, ...keys, AWS_USE_DUALSTACK_ENDPOINT: 'true' },
    { host: 'sqs.eu-west-1.api.aws:443' },
  ],
  [
    'a host of FIPS is kept',
    'http://sqs-fips.us-east-1.amazonaws.com/1/q',
    { ...proxy, ...keys, AWS_USE_FIPS_ENDPOINT: 'true' },
    { host: 'sqs-fips.us-east-1.amazonaws.com', region: 'us-east-1' },
  ],
  [
    'FIPS is never dropped for an endpoint',
    inIreland,
    { ...keys, AWS_USE_FIPS_ENDPOINT: 'true', AWS_ENDPOINT_URL: server.url },
    /^AWS_USE_FIPS_ENDPOINT cannot be kept by the host of AWS_ENDPOINT_URL$/,
  ],
  // Through which proxy.
  [
    'TLS goes through a tunnel',
    inIreland.replace('http:', 'https:'),
    { ...keys, HTTPS_PROXY: server.url },
    { host: 'sqs.eu-west-1.amazonaws.com:443' },
  ],
  [
    'the lower-case name wins',
    inIreland,
    { ...keys, http_proxy: server.url, HTTP_PROXY: other },
    { host: 'sqs.eu-west-1.amazonaws.com' },
  ],
  ['this machine is called directly', here, { ...keys, HTTP_PROXY: other }, { host }],
  [
    'as is what NO_PROXY names',
    here.replace('127.0.0.1', 'localhost'),
    { ...keys, HTTP_PROXY: other, NO_PROXY: 'example.com' },
    { host: host.replace('127.0.0.1', 'localhost') },
  ],
  [
    'a proxy that is not a URL is refused without its password',
    here,
    { HTTPS_PROXY: 'socks5://me:secret@proxy' },
    /^HTTPS_PROXY is not an http: or https: URL$/,
  ],
  // Whose credentials.
  ['variables', here, { ...keys, ...files, AWS_SESSION_TOKEN: 't' }, { accessKeyId: 'VARIABLE', sessionToken: 't' }],
  [
    'a named profile before variables',
    here,
    { ...keys, ...files, AWS_PROFILE: 'named' },
    { accessKeyId: 'NAMED', sessionToken: 't', region: 'eu-north-1' },
  ],
  [
    'the default profile',
    here,
    { ...files, AWS_CONTAINER_CREDENTIALS_FULL_URI: `${server.url}/container` },
    { accessKeyId: 'DEFAULT' },
  ],
  [
    'a process that a profile names',
    here,
    { AWS_CONFIG_FILE: config, AWS_PROFILE: 'process' },
    { accessKeyId: 'PROCESS' },
  ],
  [
    'single sign-on',
    here,
    { AWS_CONFIG_FILE: config, AWS_PROFILE: 'sso', AWS_ENDPOINT_URL_SSO: server.url },
    { accessKeyId: 'SSO' },
  ],
  [
    'web identity',
    here,
    {
      AWS_WEB_IDENTITY_TOKEN_FILE: file('jwt', 'x'),
      AWS_ROLE_ARN: 'arn:aws:iam::123456789012:role/r',
      AWS_ENDPOINT_URL_STS: `${server.url}/sts`,
    },
    { accessKeyId: 'WEBIDENTITY', sessionToken: 't' },
  ],
  [
    'a container',
    here,
    {
      AWS_CONTAINER_CREDENTIALS_FULL_URI: `${server.url}/container`,
      AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE: file('token', 'container-token'),
    },
    { accessKeyId: 'CONTAINER' },
  ],
  [
    'an instance',
    inIreland,
    { ...proxy, AWS_EC2_METADATA_DISABLED: 'false', AWS_EC2_METADATA_SERVICE_ENDPOINT: server.url },
    { accessKeyId: 'INSTANCE' },
  ],
  ['an emulator takes any', here, {}, { accessKeyId: 'emulator' }],
]

const bucketCases: readonly (readonly [title: string, environment: Environment, seen: Seen | RegExp])[] = [
  ['a region is needed', keys, /^AWS_REGION is not set/],
  [
    'AWS_REGION',
    { ...keys, ...proxy, AWS_REGION: 'eu-west-2', AWS_DEFAULT_REGION: 'x' },
    { host: 'evidence.s3.eu-west-2.amazonaws.com:443' },
  ],
  [
    'AWS_DEFAULT_REGION',
    { ...keys, ...proxy, AWS_DEFAULT_REGION: 'eu-west-3' },
    { host: 'evidence.s3.eu-west-3.amazonaws.com:443' },
  ],
  [
    "a profile's region",
    { ...files, ...proxy, AWS_PROFILE: 'named' },
    { host: 'evidence.s3.eu-north-1.amazonaws.com:443' },
  ],
  [
    'AWS_ENDPOINT_URL_S3',
    { ...keys, AWS_ENDPOINT_URL_S3: server.url, AWS_ENDPOINT_URL: other },
    { host, service: 's3', region: 'us-east-1', accessKeyId: 'VARIABLE' },
  ],
  [
    'AWS_ENDPOINT_URL',
    { ...keys, AWS_ENDPOINT_URL: server.url, AWS_REGION: 'eu-west-2' },
    { host, region: 'eu-west-2' },
  ],
  ["the profile's services", { ...files, AWS_PROFILE: 'by-service' }, { host, accessKeyId: 'BYSERVICE' }],
  [
    'an endpoint of another region is refused',
    { AWS_ENDPOINT_URL_S3: 'https://s3.us-east-1.amazonaws.com', AWS_REGION: 'eu-west-2' },
    /^AWS_REGION is not for the region of AWS_ENDPOINT_URL_S3, us-east-1;/,
  ],
  [
    'FIPS is asked of the SDK',
    { ...keys, ...proxy, AWS_REGION: 'us-east-1', AWS_USE_FIPS_ENDPOINT: 'true' },
    { host: 'evidence.s3-fips.us-east-1.amazonaws.com:443' },
  ],
  [
    'a container',
    {
      AWS_ENDPOINT_URL: server.url,
      AWS_CONTAINER_CREDENTIALS_FULL_URI: `${server.url}/container`,
      AWS_CONTAINER_AUTHORIZATION_TOKEN: 'container-token',
    },
    { accessKeyId: 'CONTAINER' },
  ],
]

t.test('which variable decides about the calls of SQS', async t => {
  for (const [title, SQS_QUEUE_URL, variables, seen] of queueCases) {
    const call = callWith({ ...required.worker, SQS_QUEUE_URL, ...variables }, callQueue)
    if (seen instanceof RegExp) await t.rejects(call, { code: 'config_invalid', message: seen }, title)
    else t.match(await call, seen, title)
  }
})

t.test('which variable decides about the calls of S3', async t => {
  for (const [title, variables, seen] of bucketCases) {
    const call = callWith({ ...required.api, ...variables }, callBucket)
    if (seen instanceof RegExp) await t.rejects(call, { code: 'config_invalid', message: seen }, title)
    else t.match(await call, seen, title)
  }
})

t.test('hosts of AWS carry their region, in every form and partition; others carry none', async t => {
  const hosts: Readonly<Record<string, string | undefined>> = {
    'sqs.eu-central-1.amazonaws.com': 'eu-central-1',
    'SQS.eu-central-1.amazonaws.com.': 'eu-central-1',
    'sqs.cn-north-1.amazonaws.com.cn': 'cn-north-1',
    'sqs.us-gov-west-1.amazonaws.com': 'us-gov-west-1',
    'sqs.us-isob-east-1.sc2s.sgov.gov': 'us-isob-east-1',
    'sqs.eusc-de-east-1.amazonaws.eu': 'eusc-de-east-1',
    'sqs-fips.us-east-2.amazonaws.com': 'us-east-2',
    'sqs.ap-southeast-4.api.aws': 'ap-southeast-4',
    'sqs.cn-northwest-1.api.amazonwebservices.com.cn': 'cn-northwest-1',
    'queue.amazonaws.com': 'us-east-1',
    'eu-west-1.queue.amazonaws.com': 'eu-west-1',
    'cn-north-1.queue.amazonaws.com.cn': 'cn-north-1',
    'vpce-0a1b-2c3d.sqs.us-west-2.vpce.amazonaws.com': 'us-west-2',
    'vpce-0a1b-2c3d-us-west-2b.sqs.us-west-2.vpce.amazonaws.com': 'us-west-2',
    'vpce-0a1b.sqs.cn-north-1.vpce.amazonaws.com.cn': 'cn-north-1',
    's3.dualstack.eu-west-1.amazonaws.com': 'eu-west-1',
    'kms-fips.ca-central-1.amazonaws.com': 'ca-central-1',
    'sqs.eu-west-1.localhost.localstack.cloud': 'eu-west-1',
    's3.amazonaws.com': undefined,
    localhost: undefined,
    '127.0.0.1': undefined,
    'sqs.eu-west-1.example.com': undefined,
    'sqs.eu-west-1.amazonaws.com.example.com': undefined,
    'sqs.cn-north-1.amazonaws.com': undefined,
  }
  for (const [host, region] of Object.entries(hosts)) t.equal(regionOfHost(host), region, host)
})
