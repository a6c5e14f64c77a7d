import { resolve } from 'node:path'
import { styleText } from 'node:util'
import { embeddedIssuer, publishesKeyOf } from '../../embedded/issuer.ts'
import { TokenvaultError } from '../../errors.ts'
import { readLogins } from '../../store/ingest.ts'
import { createDatabase } from '../../store/postgres/database.ts'
import type { FieldSchema } from '../../vault/fields/fields.ts'
import { decide, type Policy } from '../../vault/policy/policy.ts'
import { printable } from '../terminal/print.ts'
import { formatWelcome, type Paint, passwordFile, quoteForShell, usualColumns } from '../terminal/welcome.ts'
import { developmentAudience, type Running, readRunning, withLogin } from './state.ts'

const rowsShown = 5

/** Everything that a client needs of what runs: URLs and files, and no secret. */
export interface Status {
  readonly apiUrl: string
  readonly queueUrl: string
  readonly queueEndpoint: string
  readonly issuer: string
  readonly audience: string
  readonly jwksUrl: string
  /** Without the password. */
  readonly analystUrl: string
  /** Absolute path of the whole URL, password included. */
  readonly analystUrlFile: string
  /** Absolute path of the passwords, for PGPASSFILE. */
  readonly passwordFile: string
  readonly metricsUrl?: string
  readonly policyFile?: string
  readonly fieldsFile?: string
  /** Absolute path. */
  readonly dataDir: string
}

/** What `tokenvault up` says about itself once everything runs. */
export interface RunningNow extends Running {
  readonly queueUrl: string
  readonly databaseUrl: string
  readonly jwksUrl: string
}

/**
 * What runs on the directory. The issuer is asked, since it publishes a key that no other directory has.
 *
 * @throws TokenvaultError `not_running`
 */
export async function findRunning(dataDir: string): Promise<RunningNow> {
  const running = readRunning(dataDir)
  const { jwksUrl } = running ?? {}
  if (running !== undefined && jwksUrl !== undefined && (await publishesKeyOf(dataDir, jwksUrl)))
    // Whoever wrote the one wrote the others.
    return running as RunningNow
  throw new TokenvaultError('not_running', `no \`tokenvault up\` runs on ${printable(dataDir)}`)
}

export function statusOf(running: RunningNow, dataDir: string): Status {
  const { apiUrl, queueUrl, jwksUrl, metricsUrl, policyFile, fieldsFile } = running
  return {
    apiUrl,
    queueUrl,
    queueEndpoint: new URL(queueUrl).origin,
    issuer: embeddedIssuer,
    audience: developmentAudience,
    jwksUrl,
    analystUrl: analystUrl(running),
    analystUrlFile: resolve(dataDir, 'urls', 'tokenvault_analyst'),
    passwordFile: resolve(dataDir, passwordFile),
    ...(metricsUrl === undefined ? {} : { metricsUrl }),
    ...(policyFile === undefined ? {} : { policyFile }),
    ...(fieldsFile === undefined ? {} : { fieldsFile }),
    dataDir: resolve(dataDir),
  }
}

function analystUrl({ databaseUrl }: RunningNow): string {
  const url = new URL(databaseUrl)
  url.username = 'tokenvault_analyst'
  return url.href
}

/** Lines of a POSIX shell that name what runs as programs expect it. The credentials are what any client of the queue has to have. */
export function exportLines(status: Status): string {
  const variables = {
    TOKENVAULT_URL: status.apiUrl,
    SQS_QUEUE_URL: status.queueUrl,
    AWS_ENDPOINT_URL_SQS: status.queueEndpoint,
    AWS_REGION: 'us-east-1',
    // The AWS CLI and boto3 read this one only.
    AWS_DEFAULT_REGION: 'us-east-1',
    AWS_ACCESS_KEY_ID: 'emulator',
    AWS_SECRET_ACCESS_KEY: 'emulator',
    ANALYST_URL: status.analystUrl,
    ANALYST_URL_FILE: status.analystUrlFile,
    PGPASSFILE: status.passwordFile,
    JWT_ISSUER: status.issuer,
    JWT_AUDIENCE: status.audience,
    JWKS_URL: status.jwksUrl,
    ...(status.metricsUrl === undefined ? {} : { METRICS_URL: status.metricsUrl }),
  }
  return Object.entries(variables)
    .map(([name, value]) => `export ${name}=${quoteForShell(value)}\n`)
    .join('')
}

/** What people see of it: the welcome, with rows as an analyst reads them. @throws TokenvaultError `store_unavailable` */
export async function describeRunning(
  running: RunningNow,
  dataDir: string,
  files: { readonly policy: Policy; readonly fields: FieldSchema },
  output: NodeJS.WriteStream,
): Promise<string> {
  const { apiUrl, queueUrl, metricsUrl, databaseUrl } = running
  const rows = await readRows(withLogin(databaseUrl, dataDir, 'tokenvault_analyst'), rowsShown)
  const revealer = mayReveal(files) ? 'investigator' : undefined
  const welcome = { apiUrl, queueUrl, metricsUrl, analystUrl: analystUrl(running), dataDir, rows, revealer }
  return formatWelcome(welcome, { columns: output.columns ?? usualColumns, paint: painterOf(output) })
}

/** Colour where the output has it: NO_COLOR, FORCE_COLOR, TERM=dumb and pipes are Node's to judge. */
export function painterOf(stream: NodeJS.WritableStream): Paint {
  return (format, text) => styleText(format, text, { stream, validateStream: true })
}

export async function readRows(analystUrl: string, limit: number) {
  const database = createDatabase({ url: analystUrl, poolMax: 1, applicationName: 'tokenvault up' })
  try {
    return await readLogins(database, limit)
  } finally {
    await database.destroy()
  }
}

/** Whether the command that the welcome shows would be answered. */
function mayReveal({ policy, fields }: { readonly policy: Policy; readonly fields: FieldSchema }): boolean {
  const asked = {
    roles: ['investigator'],
    operation: 'detokenize',
    purpose: 'fraud_investigation',
    hasTicket: false,
  } as const
  return [...fields.keys()].some(field => decide(policy, fields, { ...asked, field }).level !== 'none')
}
