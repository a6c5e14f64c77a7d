import { readFileSync, statSync } from 'node:fs'
import { isIP } from 'node:net'
import { envSchema } from 'env-schema'
import Type, { type Static, type TObject, type TProperties } from 'typebox'
import { TokenvaultError } from '../errors.ts'

/** What the environment holds: names to text, as in `process.env`. */
export type Environment = Readonly<Record<string, string | undefined>>

const databaseVariables = {
  DATABASE_URL: Type.String({
    pattern: '^postgres(ql)?://',
    description: 'Postgres connection URL, one role a process',
  }),
  DATABASE_POOL_MAX: Type.Integer({ minimum: 1, maximum: 200, default: 10, description: 'Connections held at most' }),
}
const keyVariables = {
  TENANT: Type.String({
    pattern: '^[a-z0-9][a-z0-9_-]{0,62}$',
    default: 'default',
    description: 'Bound into every token; never change it once tokens exist',
  }),
  KEK_PROVIDER: Type.Enum(['local'], { default: 'local', description: 'Who holds the key-encryption key' }),
  KEK_FILE: Type.String({ minLength: 1, description: 'File of 32 random bytes, mode 0600: the key-encryption key' }),
}
const fieldVariables = {
  FIELDS_FILE: Type.Optional(
    Type.String({
      minLength: 1,
      description:
        'YAML or JSON file that names the fields to tokenize, the same for all processes; ip and device_id without it',
    }),
  ),
}
const auditVariables = {
  AUDIT_ORIGIN: Type.Optional(
    Type.String({
      pattern: '^[!-*,-~]{1,200}$',
      description: 'Name of the audit log in checkpoints and receipts; never change it; tokenvault/<TENANT> without it',
    }),
  ),
}
const policyVariables = {
  POLICY_FILE: Type.Optional(
    Type.String({
      minLength: 1,
      description:
        'YAML or JSON file that says who may reveal what; read again when it changes. deploy/policy.yaml without it',
    }),
  ),
}
const regionVariables = {
  AWS_REGION: Type.String({ minLength: 1, default: 'us-east-1', description: 'Region of queue and bucket' }),
}
const checkpointVariables = {
  CHECKPOINT_URL: Type.Optional(
    Type.String({
      pattern: '^(stdout:$|file:///|s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/|$))',
      description:
        'Where signed checkpoints are kept besides the database: stdout:, file:///directory/ or s3://bucket/prefix',
    }),
  ),
  CHECKPOINT_SECONDS: Type.Integer({
    minimum: 1,
    maximum: 86_400,
    default: 60,
    description: 'Seconds between checkpoints of a log that grows',
  }),
  ...regionVariables,
  AWS_ENDPOINT_URL_S3: Type.Optional(
    Type.String({ pattern: '^https?://', description: 'Endpoint of S3-compatible storage' }),
  ),
}
const queueVariables = {
  SQS_QUEUE_URL: Type.String({ pattern: '^https?://', description: 'URL of the queue of login events' }),
  ...regionVariables,
  AWS_ENDPOINT_URL_SQS: Type.Optional(
    Type.String({ pattern: '^https?://', description: 'SQS endpoint, for emulators' }),
  ),
  SQS_PROTOCOL: Type.Enum(['json', 'query'], {
    default: 'json',
    description: 'What is spoken to SQS; query for emulators that know no JSON, such as LocalStack before 2024',
  }),
}
const workerVariables = {
  WORKER_RECEIVERS: Type.Integer({ minimum: 1, maximum: 64, default: 4, description: 'Receive calls in flight' }),
  WORKER_BATCH_MESSAGES: Type.Integer({
    minimum: 1,
    maximum: 10_000,
    default: 1000,
    description: 'Messages a commit, at most',
  }),
  WORKER_BATCH_MILLISECONDS: Type.Integer({
    minimum: 1,
    maximum: 60_000,
    default: 250,
    description: 'Milliseconds a batch waits to fill',
  }),
  WORKER_VISIBILITY_TIMEOUT_SECONDS: Type.Integer({
    minimum: 10,
    maximum: 43_200,
    default: 60,
    description: 'Seconds a received message stays hidden from other workers',
  }),
  METRICS_HOST: Type.String({ minLength: 1, default: '127.0.0.1', description: 'Address that serves /metrics' }),
  METRICS_PORT: Type.Optional(
    Type.Integer({
      minimum: 0,
      maximum: 65_535,
      description: 'Port that serves Prometheus metrics; 0 picks a free one, none serves nothing',
    }),
  ),
}
const httpVariables = {
  HOST: Type.String({ minLength: 1, default: '127.0.0.1', description: 'Address the API listens on' }),
  PORT: Type.Integer({
    minimum: 0,
    maximum: 65_535,
    default: 3000,
    description: 'Port the API listens on; 0 picks a free one',
  }),
  TRUST_PROXY: Type.Optional(
    Type.String({ description: 'Comma-separated CIDRs of proxies whose X-Forwarded-For is believed' }),
  ),
  RATE_LIMIT_PER_MINUTE: Type.Integer({
    minimum: 1,
    default: 6000,
    description: 'Requests a minute for one client address',
  }),
}
const jwtVariables = {
  JWT_ISSUER: Type.String({ minLength: 1, description: 'The only accepted iss' }),
  JWT_AUDIENCE: Type.String({ minLength: 1, description: 'The only accepted aud' }),
  JWKS_URL: Type.String({ pattern: '^https?://', description: 'Where the issuer publishes its public keys' }),
  JWT_ALGORITHMS: Type.String({
    pattern: '^((RS|ES|PS)(256|384|512)|EdDSA)(,((RS|ES|PS)(256|384|512)|EdDSA))*$',
    default: 'ES256,RS256',
    description: 'Comma-separated asymmetric algorithms that are accepted',
  }),
  JWT_MAX_LIFETIME_SECONDS: Type.Integer({
    minimum: 60,
    maximum: 86_400,
    default: 43_200,
    description: 'Longest exp − iat that is accepted, in seconds',
  }),
}
const approvalVariables = {
  APPROVAL_WEBHOOK_URL: Type.Optional(
    Type.String({ pattern: '^https?://', description: 'Where approvers are told of requests for approval' }),
  ),
  APPROVAL_WEBHOOK_SECRET: Type.Optional(
    Type.String({
      pattern: '^whsec_[A-Za-z0-9+/]{32,86}={0,2}$',
      description: 'Signs what is told: whsec_ and the base64 of 24 to 64 bytes (Standard Webhooks)',
    }),
  ),
}
const logVariables = {
  LOG_LEVEL: Type.Enum(['fatal', 'error', 'warn', 'info', 'debug'], {
    default: 'info',
    description: 'Least severe level written',
  }),
}
const migrateVariables = {
  ROLE_PASSWORDS_DIR: Type.Optional(
    Type.String({
      minLength: 1,
      description: 'Directory with one file a login role, named as the role, holding its password',
    }),
  ),
}

/** The variables that each process reads, in the order in which the README lists them. */
export const configVariables = {
  migrate: {
    ...databaseVariables,
    ...keyVariables,
    ...auditVariables,
    ...fieldVariables,
    ...migrateVariables,
    ...logVariables,
  },
  worker: {
    ...databaseVariables,
    ...keyVariables,
    ...fieldVariables,
    ...queueVariables,
    ...workerVariables,
    ...logVariables,
  },
  api: {
    ...databaseVariables,
    ...keyVariables,
    ...auditVariables,
    ...checkpointVariables,
    ...fieldVariables,
    ...policyVariables,
    ...httpVariables,
    ...jwtVariables,
    ...approvalVariables,
    ...logVariables,
  },
  lambda: { ...databaseVariables, ...keyVariables, ...fieldVariables, ...logVariables },
  dlq: queueVariables,
  reconcile: { DATABASE_URL: databaseVariables.DATABASE_URL, ...fieldVariables },
  policy: { ...fieldVariables, ...policyVariables },
  audit: { DATABASE_URL: databaseVariables.DATABASE_URL },
} as const

export type ProcessName = keyof typeof configVariables
type Raw<P extends ProcessName> = Static<TObject<(typeof configVariables)[P]>>

/** One process's configuration: every variable by its own name, checked, frozen, with defaults filled in. */
export type Config<P extends ProcessName> = Readonly<Raw<P>>

/** What a pattern cannot say, by variable. Whoever reads the text later would throw, at worst with the text in its message. */
const textChecks: Readonly<Record<string, (text: string) => string | undefined>> = {
  // A socket's directory is given as ?host=, and its URL then has a user and no host.
  DATABASE_URL: text => (isUrl(text.replace('@/', '@localhost/')) ? undefined : 'is no URL'),
  SQS_QUEUE_URL: text => (isUrl(text) ? undefined : 'is no URL'),
  APPROVAL_WEBHOOK_URL: text => {
    if (!isUrl(text)) return 'is no URL'
    const { username, password } = new URL(text)
    return username === '' && password === '' ? undefined : 'holds a login, which is never sent'
  },
  AWS_ENDPOINT_URL_SQS: text => (isUrl(text) ? undefined : 'is no URL'),
  AWS_ENDPOINT_URL_S3: text => (isUrl(text) ? undefined : 'is no URL'),
  CHECKPOINT_URL: text => (isPlainUrl(text) ? undefined : 'is no plain URL'),
  JWKS_URL: text => (isUrl(text) ? undefined : 'is no URL'),
  TRUST_PROXY: text =>
    text.split(',').every(isNetwork) ? undefined : 'holds something that is no CIDR and no address',
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

/** A URL that says where, and no more: a login or a query in it would be taken for something that it is not. */
function isPlainUrl(text: string): boolean {
  if (!isUrl(text)) return false
  const { username, port, search, hash } = new URL(text)
  return username === '' && port === '' && search === '' && hash === ''
}

function isNetwork(text: string): boolean {
  const [address = '', prefix, ...rest] = text.split('/')
  const bits = { 0: 0, 4: 32, 6: 128 }[isIP(address)] ?? 0
  if (bits === 0 || address.includes('%') || rest.length > 0) return false
  return prefix === undefined || (/^[1-9]\d{0,2}$/.test(prefix) && Number(prefix) <= bits)
}

/** Variables whose text is a secret may be given as NAME_FILE instead; a trailing newline of the file is dropped. */
function readFileVariables(environment: Environment, names: readonly string[], problems: string[]) {
  const read = new Map<string, string>()
  for (const name of names) {
    const path = environment[`${name}_FILE`]
    if (!path) continue
    if (environment[name]) problems.push(`${name} and ${name}_FILE are both set; keep one`)
    try {
      read.set(name, readFileSync(path, 'utf8').replace(/\r?\n$/, ''))
    } catch (error) {
      problems.push(`${name}_FILE cannot be read (${errorCode(error)})`)
    }
  }
  return read
}

function errorCode(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : 'unknown'
}

/**
 * Reads and checks what one process needs from its environment.
 *
 * @param processName which process's variables
 * @param environment names to text; an empty text counts as not set
 * @returns every variable of that process under its own name, numbers as numbers, frozen
 * @throws TokenvaultError `config_invalid`, with every problem in one message and no value in it
 */
export function loadConfig<P extends ProcessName>(processName: P, environment: Environment): Config<P> {
  const variables: TProperties = configVariables[processName]
  const names = Object.keys(variables)
  const problems: string[] = []
  const present: Record<string, string> = {}
  // KEK_FILE names a file of its own accord; there is no KEK_FILE_FILE.
  const fileNames = names.filter(name => !name.endsWith('_FILE'))
  const fromFiles = readFileVariables(environment, fileNames, problems)
  for (const name of names) {
    const text = environment[name] || fromFiles.get(name)
    if (!text) continue
    // ajv would take 0x10, 1e3 and, past any maximum, Infinity.
    if (Type.IsInteger(variables[name]) && !/^-?[0-9]{1,15}$/.test(text))
      problems.push(describeProblem(name, 'must be integer', variables))
    else present[name] = text
  }
  const unread = new Set(fileNames.filter(name => environment[`${name}_FILE`] && !fromFiles.has(name)))
  const refused = new Set<string>()
  let config: Record<string, unknown> = {}
  try {
    config = envSchema({ schema: Type.Object(variables), data: present, env: false })
  } catch (error) {
    for (const problem of describeSchemaErrors(error, variables)) {
      refused.add(problem.name)
      if (!unread.has(problem.name)) problems.push(problem.text)
    }
  }
  for (const [name, text] of Object.entries(present)) {
    const problem = refused.has(name) ? undefined : textChecks[name]?.(text)
    if (problem !== undefined) problems.push(describeProblem(name, problem, variables))
  }
  const lone = loneOf(['APPROVAL_WEBHOOK_URL', 'APPROVAL_WEBHOOK_SECRET'], present)
  if (lone !== undefined && !unread.has(lone)) problems.push(describeProblem(lone, 'is not set', variables))
  if (present['ROLE_PASSWORDS_DIR'] !== undefined && !isDirectory(present['ROLE_PASSWORDS_DIR'])) {
    problems.push('ROLE_PASSWORDS_DIR is not a directory')
  }
  if (problems.length > 0) throw new TokenvaultError('config_invalid', listProblems(problems))
  // Checked against the schema of exactly this process by ajv one statement above.
  return Object.freeze(config) as Config<P>
}

function listProblems(problems: readonly string[]): string {
  return problems.length === 1 ? problems[0]! : [`${problems.length} problems:`, ...problems].join('\n  ')
}

/** Of two variables that go together, the one that is missing beside the other. */
function loneOf([a, b]: readonly [string, string], present: Readonly<Record<string, string>>): string | undefined {
  if (a in present === b in present) return undefined
  return a in present ? b : a
}

interface SchemaError {
  readonly keyword: string
  readonly instancePath: string
  readonly message?: string
  readonly params: Readonly<Record<string, unknown>>
}

function describeSchemaErrors(error: unknown, variables: TProperties): { name: string; text: string }[] {
  if (!(error instanceof Error) || !('errors' in error) || !Array.isArray(error.errors)) throw error
  return error.errors.map(({ keyword, instancePath, message, params }: SchemaError) => {
    const name = keyword === 'required' ? String(params['missingProperty']) : instancePath.slice(1)
    const allowed = keyword === 'enum' ? `: ${(params['allowedValues'] as string[]).join(', ')}` : ''
    const problem = keyword === 'required' ? 'is not set' : `${message ?? keyword}${allowed}`
    return { name, text: describeProblem(name, problem, variables) }
  })
}

function describeProblem(name: string, problem: string, variables: TProperties): string {
  const description: unknown = (variables[name] as { description?: unknown } | undefined)?.description
  return `${name} ${problem}${description === undefined ? '' : ` (${String(description)})`}`
}

function isDirectory(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true
}
