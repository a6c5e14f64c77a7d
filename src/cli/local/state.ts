import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Environment } from '../../config/load.ts'
import { adminRole } from '../../embedded/postgres-cluster.ts'
import type { LoginRole } from '../../store/setup/role-passwords.ts'

/** Where `tokenvault up` keeps its state unless told otherwise. */
export const defaultDataDir = '.tokenvault'

/** What the JWTs of its issuer are for. */
export const developmentAudience = 'tokenvault'
export const developmentJwtLifetimeSeconds = 8 * 3600

/** What runs on a data directory: where the servers of `tokenvault up` listen, and its files; without any secret. */
export interface Running {
  readonly apiUrl: string
  readonly queueUrl?: string
  /** Without a login. */
  readonly databaseUrl?: string
  readonly jwksUrl?: string
  readonly metricsUrl?: string | undefined
  /** Absolute paths of the files of --policy and --fields. */
  readonly policyFile?: string | undefined
  readonly fieldsFile?: string | undefined
}

export function writeRunning(dataDir: string, running: Running): void {
  writeWhole(join(dataDir, 'running.json'), `${JSON.stringify(running)}\n`)
}

/** @returns undefined where `tokenvault up` never ran on the directory, and while it starts */
export function readRunning(dataDir: string): Running | undefined {
  try {
    return JSON.parse(readFileSync(join(dataDir, 'running.json'), 'utf8'))
  } catch {
    return undefined
  }
}

/** For a start: what ran before says nothing about what runs now. */
export function forgetRunning(dataDir: string): void {
  rmSync(join(dataDir, 'running.json'), { force: true })
}

/** A file of mode 0600 that whoever reads it meanwhile sees whole. */
export function writeWhole(path: string, text: string): void {
  const temporary = `${path}.new`
  rmSync(temporary, { force: true })
  writeFileSync(temporary, text, { mode: 0o600, flag: 'wx' })
  renameSync(temporary, path)
}

/** The database of the `tokenvault up` on the directory, with a role's login; undefined where none ever ran there. */
export function embeddedDatabaseUrl(dataDir: string, role: LoginRole): string | undefined {
  const { databaseUrl } = readRunning(dataDir) ?? {}
  return databaseUrl === undefined ? undefined : withLogin(databaseUrl, dataDir, role)
}

/** The same with the login of the superuser, who owns what people make there; undefined where none ever ran there. */
export function embeddedAdminUrl(dataDir: string): string | undefined {
  const { databaseUrl } = readRunning(dataDir) ?? {}
  if (databaseUrl === undefined) return undefined
  const url = new URL(databaseUrl)
  url.username = adminRole
  url.password = readFileSync(join(dataDir, 'postgres-password'), 'utf8').trim()
  return url.href
}

/** The URL with the login of a role, whose password the directory holds. */
export function withLogin(databaseUrl: string, dataDir: string, role: LoginRole): string {
  const url = new URL(databaseUrl)
  url.username = role
  url.password = readFileSync(join(dataDir, 'passwords', role), 'utf8').trim()
  return url.href
}

/** The files of --policy and --fields, as every process takes them. */
export function fileVariables({ policyFile, fieldsFile }: Pick<Running, 'policyFile' | 'fieldsFile'>): Environment {
  return {
    ...(policyFile === undefined ? {} : { POLICY_FILE: policyFile }),
    ...(fieldsFile === undefined ? {} : { FIELDS_FILE: fieldsFile }),
  }
}

/**
 * The environment; or, where it names no queue, that of the worker of the `tokenvault up` on the directory, which takes
 * nothing from the shell.
 *
 * @param dataDir may hold nothing; then the environment stays as it is, and lacks what it lacks
 */
export function orEmbedded(environment: Environment, dataDir: string): Environment {
  if (environment['SQS_QUEUE_URL'] || environment['SQS_QUEUE_URL_FILE']) return environment
  const running = readRunning(dataDir)
  const databaseUrl = embeddedDatabaseUrl(dataDir, 'tokenvault_worker')
  if (running?.queueUrl === undefined || databaseUrl === undefined) return environment
  return {
    ...fileVariables(running),
    SQS_QUEUE_URL: running.queueUrl,
    AWS_ENDPOINT_URL_SQS: new URL(running.queueUrl).origin,
    DATABASE_URL: databaseUrl,
    KEK_FILE: join(dataDir, 'kek'),
  }
}
