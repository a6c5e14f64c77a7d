import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Environment } from '../../config/load.ts'
import type { LoginRole } from '../../store/setup/role-passwords.ts'

/** Where `tokenvault up` keeps its state unless told otherwise. */
export const defaultDataDir = '.tokenvault'

/** What the JWTs of its issuer are for. */
export const developmentAudience = 'tokenvault'
export const developmentJwtLifetimeSeconds = 8 * 3600

/** Where the servers of `tokenvault up` listen; without any secret. */
export interface Running {
  readonly apiUrl: string
  readonly queueUrl?: string
  /** Without a login. */
  readonly databaseUrl?: string
  readonly jwksUrl?: string
}

export function writeRunning(dataDir: string, running: Running): void {
  writeFileSync(join(dataDir, 'running.json'), `${JSON.stringify(running)}\n`, { mode: 0o600 })
}

/** @returns undefined where `tokenvault up` never ran on the directory */
export function readRunning(dataDir: string): Running | undefined {
  try {
    return JSON.parse(readFileSync(join(dataDir, 'running.json'), 'utf8'))
  } catch {
    return undefined
  }
}

/** The database of the `tokenvault up` on the directory, with a role's login; undefined where none ever ran there. */
export function embeddedDatabaseUrl(dataDir: string, role: LoginRole): string | undefined {
  const { databaseUrl } = readRunning(dataDir) ?? {}
  if (databaseUrl === undefined) return undefined
  const url = new URL(databaseUrl)
  url.username = role
  url.password = readFileSync(join(dataDir, 'passwords', role), 'utf8').trim()
  return url.href
}

/**
 * The environment; or, where it names no queue, that of the worker of the `tokenvault up` on the directory, which takes
 * nothing from the shell.
 *
 * @param dataDir may hold nothing; then the environment stays as it is, and lacks what it lacks
 */
export function orEmbedded(environment: Environment, dataDir: string): Environment {
  if (environment['SQS_QUEUE_URL'] || environment['SQS_QUEUE_URL_FILE']) return environment
  const { queueUrl } = readRunning(dataDir) ?? {}
  const databaseUrl = embeddedDatabaseUrl(dataDir, 'tokenvault_worker')
  if (queueUrl === undefined || databaseUrl === undefined) return environment
  return {
    SQS_QUEUE_URL: queueUrl,
    AWS_ENDPOINT_URL_SQS: new URL(queueUrl).origin,
    DATABASE_URL: databaseUrl,
    KEK_FILE: join(dataDir, 'kek'),
  }
}
