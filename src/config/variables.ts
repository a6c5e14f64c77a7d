import { isIP } from 'node:net'
import Type, { type Static, type TObject, type TSchema } from 'typebox'

/** Who reads variables: the commands of the same names, and the function on AWS Lambda. */
export const processNames = [
  'migrate',
  'worker',
  'api',
  'lambda',
  'dlq',
  'reconcile',
  'policy',
  'audit',
  'backfill',
] as const
export type ProcessName = (typeof processNames)[number]

/** Checks what a schema cannot express. Without it the reader of the text would throw later, at worst with the text in its message. */
type TextCheck = (text: string) => string | undefined

/** One environment variable. */
export interface Variable {
  /** Who reads it. */
  readonly readBy: readonly ProcessName[]
  /** Optional, or required unless it has a default. */
  readonly schema: TSchema
  readonly description: string
  readonly defaultValue: string | number | undefined
  readonly check: TextCheck | undefined
}

function variable<const P extends readonly ProcessName[], S extends TSchema>(readBy: P, schema: S, check?: TextCheck) {
  const { description = '', default: defaultValue } = schema as { description?: string; default?: string | number }
  return { readBy, schema, description, defaultValue, check }
}

/** The recipients that RECOVERY_RECIPIENTS names, as a file of age's own lists them, too: one a line, with comments. */
export function listRecipients(text: string): readonly string[] {
  const names = text.split(/\r?\n/).flatMap(line => line.replace(/^\s*#.*$/, '').split(/[\s,]+/))
  return [...new Set(names.filter(name => name !== ''))]
}

/** The processes that open the vault. */
const vaultProcesses = ['migrate', 'worker', 'api', 'lambda'] as const

/** Of a key of AWS KMS, and not of an alias. */
const keyArn = '^arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]{1,64}$'

/** Every variable, once, in the order in which --help and docs/configuration.md list them. */
const declared = {
  // A socket's directory is given as ?host=, and its URL then has a user and no host.
  DATABASE_URL: variable(
    ['migrate', 'worker', 'api', 'lambda', 'reconcile', 'audit', 'backfill'],
    Type.String({
      pattern: '^postgres(ql)?://',
      description:
        'Postgres connection URL; each process has a role of its own; as DATABASE_URL_FILE it is read again for each new session',
    }),
    text => (isDatabaseUrl(text) ? undefined : 'is not a URL'),
  ),
  STORE_DATABASE_URL: variable(
    ['api'],
    Type.Optional(
      Type.String({
        pattern: '^postgres(ql)?://',
        description:
          'The same database with the login of role tokenvault_store: the API stores values through it, and stores none unless it is set',
      }),
    ),
    text => (isDatabaseUrl(text) ? undefined : 'is not a URL'),
  ),
  PRIVACY_DATABASE_URL: variable(
    ['api'],
    Type.Optional(
      Type.String({
        pattern: '^postgres(ql)?://',
        description:
          'The same database with the login of role tokenvault_privacy: the API answers requests of people through it, and none unless it is set',
      }),
    ),
    text => (isDatabaseUrl(text) ? undefined : 'is not a URL'),
  ),
  DATABASE_POOL_MAX: variable(
    vaultProcesses,
    Type.Integer({
      minimum: 1,
      maximum: 200,
      default: 10,
      description: 'Most connections that are held, for each URL of a database',
    }),
  ),
  TENANT: variable(
    vaultProcesses,
    Type.String({
      pattern: '^[a-z0-9][a-z0-9_-]{0,62}$',
      default: 'default',
      description: 'Name that is bound into every token; never change it once tokens exist',
    }),
  ),
  KEK_PROVIDER: variable(
    vaultProcesses,
    Type.Enum(['local', 'aws-kms', 'command'], {
      default: 'local',
      description:
        'Who holds the key-encryption key: a file (KEK_FILE), AWS KMS (KMS_KEY_ARN), or what KEK_COMMAND asks',
    }),
  ),
  KEK_FILE: variable(
    vaultProcesses,
    Type.Optional(
      Type.String({
        minLength: 1,
        description: 'File of 32 random bytes, mode 0600: the key-encryption key; required where KEK_PROVIDER is local',
      }),
    ),
  ),
  KEK_IDENTITY_FILE: variable(
    vaultProcesses,
    Type.Optional(
      Type.String({
        minLength: 1,
        description: 'File with the age identity (AGE-SECRET-KEY-1…) that opens a KEK_FILE encrypted to age recipients',
      }),
    ),
  ),
  KEK_COMMAND: variable(
    vaultProcesses,
    Type.Optional(
      Type.String({
        minLength: 1,
        description:
          'Shell command that prints the key-encryption key: 32 bytes as they are, in base64 or in hexadecimal digits',
      }),
    ),
  ),
  KMS_KEY_ARN: variable(
    vaultProcesses,
    Type.Optional(
      Type.String({
        pattern: keyArn,
        description: 'Symmetric key of AWS KMS that is the key-encryption key, by its key ARN and never by an alias',
      }),
    ),
  ),
  NEXT_KEK_PROVIDER: variable(
    vaultProcesses,
    Type.Optional(
      Type.Enum(['local', 'aws-kms', 'command'], {
        description:
          'Who holds the key-encryption key that takes over: while it is set, stored keys may be wrapped by either (keys.md)',
      }),
    ),
  ),
  NEXT_KEK_FILE: variable(
    vaultProcesses,
    Type.Optional(Type.String({ minLength: 1, description: 'As KEK_FILE, for NEXT_KEK_PROVIDER' })),
  ),
  NEXT_KEK_IDENTITY_FILE: variable(
    vaultProcesses,
    Type.Optional(Type.String({ minLength: 1, description: 'As KEK_IDENTITY_FILE, for NEXT_KEK_PROVIDER' })),
  ),
  NEXT_KEK_COMMAND: variable(
    vaultProcesses,
    Type.Optional(Type.String({ minLength: 1, description: 'As KEK_COMMAND, for NEXT_KEK_PROVIDER' })),
  ),
  NEXT_KMS_KEY_ARN: variable(
    vaultProcesses,
    Type.Optional(Type.String({ pattern: keyArn, description: 'As KMS_KEY_ARN, for NEXT_KEK_PROVIDER' })),
  ),
  RECOVERY_RECIPIENTS: variable(
    ['migrate'],
    Type.Optional(
      Type.String({
        minLength: 1,
        description:
          'Recipients of age (age1…), by spaces, commas or lines: whoever holds an identity of one opens the keys without the KEK (keys.md)',
      }),
    ),
    text => (listRecipients(text).length === 0 ? 'names no recipient' : undefined),
  ),
  KEY_MAX_AGE_DAYS: variable(
    ['migrate'],
    Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: 36_500,
        description:
          'Days after which `keys status` and `doctor` warn that a data, quarantine or audit key is old (keys.md)',
      }),
    ),
  ),
  AUDIT_ORIGIN: variable(
    ['migrate', 'api'],
    Type.Optional(
      Type.String({
        pattern: '^[!-*,-~]{1,200}$',
        description:
          'Name of the audit log in checkpoints and receipts, tokenvault/<TENANT> unless set; never change it',
      }),
    ),
  ),
  FIELDS_FILE: variable(
    [...vaultProcesses, 'reconcile', 'policy', 'backfill'],
    Type.Optional(
      Type.String({
        minLength: 1,
        description:
          'YAML or JSON file that names the fields to tokenize, ip and device_id unless set; the same for all processes',
      }),
    ),
  ),
  POLICY_FILE: variable(
    ['api', 'policy'],
    Type.Optional(
      Type.String({
        minLength: 1,
        description:
          'YAML or JSON file that says who may reveal what, deploy/policy.yaml unless set; read again when it changes',
      }),
    ),
  ),
  ROLE_PASSWORDS_DIR: variable(
    ['migrate'],
    Type.Optional(
      Type.String({
        minLength: 1,
        description: 'Directory that holds the password of each role that logs in, in a file of that name',
      }),
    ),
  ),
  CHECKPOINT_URL: variable(
    ['migrate', 'worker', 'api'],
    Type.Optional(
      Type.String({
        pattern: '^(stdout:$|file:///|s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/|$))',
        description:
          'Where signed checkpoints and the erasure ledger are kept besides the database: stdout:, file:///directory/ or s3://bucket/prefix',
      }),
    ),
    text => (isPlainUrl(text) ? undefined : 'is not a plain URL'),
  ),
  CHECKPOINT_SECONDS: variable(
    ['api'],
    Type.Integer({
      minimum: 1,
      maximum: 86_400,
      default: 60,
      description: 'Seconds between checkpoints of a log that grows',
    }),
  ),
  SQS_QUEUE_URL: variable(
    ['worker', 'dlq'],
    Type.String({ pattern: '^https?://', description: 'URL of the queue of login events' }),
    checkUrl,
  ),
  AWS_REGION: variable(
    ['migrate', 'worker', 'api', 'dlq'],
    Type.Optional(
      Type.String({ minLength: 1, description: 'Region of queue and bucket; a queue URL of AWS says its own' }),
    ),
  ),
  AWS_DEFAULT_REGION: variable(
    ['migrate', 'worker', 'api', 'dlq'],
    Type.Optional(Type.String({ minLength: 1, description: 'What AWS_REGION is where that is not set' })),
  ),
  AWS_ENDPOINT_URL: variable(
    [...vaultProcesses, 'dlq'],
    Type.Optional(Type.String({ pattern: '^https?://', description: 'Endpoint of every service of AWS' })),
    checkUrl,
  ),
  AWS_ENDPOINT_URL_S3: variable(
    ['migrate', 'worker', 'api'],
    Type.Optional(Type.String({ pattern: '^https?://', description: 'Endpoint of S3-compatible storage' })),
    checkUrl,
  ),
  AWS_ENDPOINT_URL_KMS: variable(
    vaultProcesses,
    Type.Optional(Type.String({ pattern: '^https?://', description: 'Endpoint of KMS, such as a VPC endpoint' })),
    checkUrl,
  ),
  AWS_ENDPOINT_URL_SQS: variable(
    ['worker', 'dlq'],
    Type.Optional(
      Type.String({ pattern: '^https?://', description: 'Endpoint of SQS, where it is not the host of the queue URL' }),
    ),
    checkUrl,
  ),
  SQS_PROTOCOL: variable(
    ['worker', 'dlq'],
    Type.Enum(['json', 'query'], {
      default: 'json',
      description: 'Protocol of calls to SQS; query is for emulators without JSON, such as LocalStack before 2024',
    }),
  ),
  WORKER_RECEIVERS: variable(
    ['worker'],
    Type.Integer({ minimum: 1, maximum: 64, default: 4, description: 'Receive calls in flight' }),
  ),
  WORKER_BATCH_MESSAGES: variable(
    ['worker'],
    Type.Integer({
      minimum: 1,
      maximum: 10_000,
      default: 1000,
      description: 'Most messages in one commit',
    }),
  ),
  WORKER_BATCH_MILLISECONDS: variable(
    ['worker'],
    Type.Integer({
      minimum: 1,
      maximum: 60_000,
      default: 250,
      description: 'Milliseconds a batch waits to fill',
    }),
  ),
  WORKER_VISIBILITY_TIMEOUT_SECONDS: variable(
    ['worker'],
    Type.Integer({
      minimum: 10,
      maximum: 43_200,
      default: 60,
      description: 'Seconds a received message stays hidden from other workers',
    }),
  ),
  METRICS_HOST: variable(
    ['worker'],
    Type.String({ minLength: 1, default: '127.0.0.1', description: 'Address that serves /metrics' }),
  ),
  METRICS_PORT: variable(
    ['worker'],
    Type.Optional(
      Type.Integer({
        minimum: 0,
        maximum: 65_535,
        description: 'Port that serves Prometheus metrics; 0 picks a free one; unless set, no metrics are served',
      }),
    ),
  ),
  HOST: variable(
    ['api'],
    Type.String({ minLength: 1, default: '127.0.0.1', description: 'Address the API listens on' }),
  ),
  PORT: variable(
    ['api'],
    Type.Integer({
      minimum: 0,
      maximum: 65_535,
      default: 3000,
      description: 'Port the API listens on; 0 picks a free one',
    }),
  ),
  TRUST_PROXY: variable(
    ['api'],
    Type.Optional(Type.String({ description: 'Comma-separated CIDRs of proxies whose X-Forwarded-For is believed' })),
    text => (text.split(',').every(isNetwork) ? undefined : 'holds something that is neither a CIDR nor an address'),
  ),
  RATE_LIMIT_PER_MINUTE: variable(
    ['api'],
    Type.Integer({
      minimum: 1,
      default: 6000,
      description: 'Requests a minute for one client address',
    }),
  ),
  MAX_CONNECTIONS: variable(
    ['api'],
    Type.Integer({
      minimum: 1,
      default: 1000,
      description: 'Connections that the API holds open at once; further ones are closed as they come',
    }),
  ),
  MAX_BODY_BYTES_IN_FLIGHT: variable(
    ['api'],
    Type.Integer({
      minimum: 4_194_304,
      default: 67_108_864,
      description:
        'Bytes of request bodies that the API holds at once; further calls are answered 503 with Retry-After',
    }),
  ),
  JWT_ISSUERS_FILE: variable(
    ['api'],
    Type.Optional(
      Type.String({
        minLength: 1,
        description: 'YAML or JSON file that names several issuers, in place of JWT_ISSUER, JWT_AUDIENCE and JWKS_URL',
      }),
    ),
  ),
  JWT_ISSUER: variable(
    ['api'],
    Type.Optional(
      Type.String({ minLength: 1, description: 'The only accepted iss; required unless JWT_ISSUERS_FILE is set' }),
    ),
  ),
  JWT_AUDIENCE: variable(
    ['api'],
    Type.Optional(
      Type.String({
        minLength: 1,
        description:
          'Comma-separated accepted values of aud; a JWT needs one of them. Required unless JWT_ISSUERS_FILE is set',
      }),
    ),
    checkNames,
  ),
  JWT_CLIENT_IDS: variable(
    ['api'],
    Type.Optional(
      Type.String({
        description: 'Comma-separated client_id values accepted from JWTs without aud, with token_use access (Cognito)',
      }),
    ),
    checkNames,
  ),
  JWKS_URL: variable(
    ['api'],
    Type.Optional(
      Type.String({
        pattern: '^https?://',
        description: 'Where the issuer publishes its public keys; required unless JWT_ISSUERS_FILE is set',
      }),
    ),
    checkUrl,
  ),
  JWT_ALGORITHMS: variable(
    ['api'],
    Type.String({
      pattern: '^((RS|ES|PS)(256|384|512)|EdDSA)(,((RS|ES|PS)(256|384|512)|EdDSA))*$',
      default: 'ES256,RS256',
      description: 'Comma-separated asymmetric algorithms that are accepted',
    }),
  ),
  JWT_MAX_LIFETIME_SECONDS: variable(
    ['api'],
    Type.Integer({
      minimum: 60,
      maximum: 86_400,
      default: 43_200,
      description: 'Longest exp − iat that is accepted, in seconds',
    }),
  ),
  JWT_CLOCK_TOLERANCE_SECONDS: variable(
    ['api'],
    Type.Integer({
      minimum: 0,
      maximum: 300,
      default: 30,
      description: 'Seconds by which the clocks of issuer and API may differ',
    }),
  ),
  JWT_TYP: variable(
    ['api'],
    Type.Enum(['any', 'at+jwt'], {
      default: 'any',
      description: 'Accepted typ of a JWT: at+jwt (RFC 9068), or any, which also takes JWT and none',
    }),
  ),
  JWT_SUBJECT_CASE: variable(
    ['api'],
    Type.Enum(['exact', 'ignore'], {
      default: 'exact',
      description: 'Whether subjects that differ only in case are two people (exact) or one (ignore)',
    }),
  ),
  APPROVAL_WEBHOOK_URL: variable(
    ['api'],
    Type.Optional(Type.String({ pattern: '^https?://', description: 'URL to which requests for approval are posted' })),
    checkWebhookUrl,
  ),
  APPROVAL_WEBHOOK_SECRET: variable(
    ['api'],
    Type.Optional(
      Type.String({
        pattern: '^whsec_[A-Za-z0-9+/]{32,86}={0,2}$',
        description: 'Signs what is posted there: whsec_ and the base64 of 24 to 64 bytes (Standard Webhooks)',
      }),
    ),
  ),
  ALARM_WEBHOOK_URL: variable(
    ['api'],
    Type.Optional(
      Type.String({ pattern: '^https?://', description: 'URL to which alarms are posted: somebody met a honey token' }),
    ),
    checkWebhookUrl,
  ),
  ALARM_WEBHOOK_SECRET: variable(
    ['api'],
    Type.Optional(
      Type.String({
        pattern: '^whsec_[A-Za-z0-9+/]{32,86}={0,2}$',
        description: 'Signs what is posted there, as APPROVAL_WEBHOOK_SECRET does for requests',
      }),
    ),
  ),
  LOG_LEVEL: variable(
    vaultProcesses,
    Type.Enum(['fatal', 'error', 'warn', 'info', 'debug'], {
      default: 'info',
      description: 'Least severe level that is logged',
    }),
  ),
}

/** Every variable by its name. */
export const variables: Readonly<Record<string, Variable>> = declared

type NameReadBy<P extends ProcessName> = {
  [N in keyof typeof declared]: P extends (typeof declared)[N]['readBy'][number] ? N : never
}[keyof typeof declared]

/** One process's configuration: every variable by its own name, checked, frozen, with defaults filled in. */
export type Config<P extends ProcessName> = Readonly<
  Static<TObject<{ [N in NameReadBy<P>]: (typeof declared)[N]['schema'] }>>
> & {
  /** Where the URLs of databases were read, if in files; databaseUrl() of load.ts reads them again. */
  readonly DATABASE_URL_FILE?: string
  readonly STORE_DATABASE_URL_FILE?: string
  readonly PRIVACY_DATABASE_URL_FILE?: string
}

/** The variables that one process reads, by name. */
export function variablesOf(processName: ProcessName): ReadonlyMap<string, Variable> {
  return new Map<string, Variable>(Object.entries(variables).filter(([, { readBy }]) => readBy.includes(processName)))
}

function checkUrl(text: string): string | undefined {
  return isUrl(text) ? undefined : 'is not a URL'
}

function checkWebhookUrl(text: string): string | undefined {
  if (!isUrl(text)) return 'is not a URL'
  const { username, password } = new URL(text)
  return username === '' && password === '' ? undefined : 'holds a login, which is never sent'
}

/** A URL whose login also has no broken escapes. */
function isUrl(text: string): boolean {
  try {
    const { username, password, pathname } = new URL(text)
    for (const part of [username, password, pathname]) decodeURIComponent(part)
    return true
  } catch {
    return false
  }
}

/** A URL, or one for each of several hosts: `host1:5432,host2:5433`. */
function isDatabaseUrl(text: string): boolean {
  const [, start = '', hosts = '', rest = ''] = /^(postgres(?:ql)?:\/\/(?:[^/?#]*@)?)([^/?#@]*)(.*)$/s.exec(text) ?? []
  return hosts.split(',').every(host => isUrl(`${start}${host || 'localhost'}${rest}`))
}

/** A URL that says where, and no more: a login or a query in it would be taken for something that it is not. */
function isPlainUrl(text: string): boolean {
  if (!isUrl(text)) return false
  const { username, port, search, hash } = new URL(text)
  return username === '' && port === '' && search === '' && hash === ''
}

/** Names are compared as they are, so a space beside a comma would refuse every JWT. */
function checkNames(text: string): string | undefined {
  return text.split(',').every(name => /^\S(.*\S)?$/.test(name))
    ? undefined
    : 'holds an empty name, or one with spaces around it'
}

function isNetwork(text: string): boolean {
  const [address = '', prefix, ...rest] = text.split('/')
  const bits = { 0: 0, 4: 32, 6: 128 }[isIP(address)] ?? 0
  if (bits === 0 || address.includes('%') || rest.length > 0) return false
  return prefix === undefined || (/^[1-9]\d{0,2}$/.test(prefix) && Number(prefix) <= bits)
}
