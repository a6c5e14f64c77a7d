import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Environment } from '../../config/load.ts'
import type { DataDir } from '../../embedded/data-dir.ts'
import { type EmbeddedIssuer, startIssuer } from '../../embedded/issuer.ts'
import { type EmbeddedPostgres, startPostgres } from '../../embedded/postgres.ts'
import { readOrCreatePassword, readOrCreateSecret } from '../../embedded/secret-file.ts'
import { type EmbeddedSqs, startSqs } from '../../embedded/sqs.ts'
import { TokenvaultError } from '../../errors.ts'
import { kekBytes } from '../../kms/held-key.ts'
import type { Log } from '../../log.ts'
import { ensureDatabase } from '../../store/setup/ensure-database.ts'
import { type LoginRole, loginRoles } from '../../store/setup/role-passwords.ts'
import type { StartStep } from '../terminal/start-progress.ts'
import { passwordFile } from '../terminal/welcome.ts'
import { developmentAudience, withLogin, writeWhole } from './state.ts'

const databaseName = 'tokenvault'
const preferredPorts = { postgres: 54_320, sqs: 9324, issuer: 3001 }

/** Everything around tokenvault, on this machine: what production finds in its environment. */
export interface EmbeddedStack {
  readonly dataDir: DataDir
  readonly postgres: EmbeddedPostgres
  readonly sqs: EmbeddedSqs
  readonly issuer: EmbeddedIssuer
  /** What `tokenvault migrate`, `worker` and `api` need besides DATABASE_URL, each of which takes what is its own. */
  readonly environment: Environment
  /** URL of the superuser for tokenvault's database. */
  readonly adminUrl: string
  /** The same without a login. */
  readonly plainUrl: string
  databaseUrl(role: LoginRole): string
  stop(): Promise<void>
}

/**
 * Starts Postgres, the queue and the issuer on a data directory, and makes the secrets they need there (mode 0600).
 * The directory is released when they have stopped, or did not start.
 *
 * @param options.freePorts true lets every server take any free port; otherwise its usual one where that is free
 * @param options.files variables that name files, for every process
 * @param options.onReady called as each server is ready
 * @throws TokenvaultError `embedded_failed`, `port_unavailable`
 */
export async function startStack(options: {
  readonly dataDir: DataDir
  readonly freePorts: boolean
  readonly log: Log
  readonly files: Environment
  readonly onReady: (step: StartStep) => void
}): Promise<EmbeddedStack> {
  const { dataDir, freePorts, log, files, onReady } = options
  const started: { stop(): Promise<void> }[] = []
  const stop = async () => {
    const stops = await Promise.allSettled(started.map(server => server.stop()))
    dataDir.release()
    for (const result of stops) if (result.status === 'rejected') throw result.reason
  }
  const start = async <T extends { stop(): Promise<void> }>(
    step: StartStep,
    preferred: number,
    launch: (port: number) => Promise<T>,
  ): Promise<T> => {
    const server = await (freePorts ? launch(0) : withPreferredPort(preferred, launch))
    started.push(server)
    onReady(step)
    return server
  }
  const { path } = dataDir
  const starting = [
    start('Postgres', preferredPorts.postgres, port => startPostgres({ dataDir: path, port, log })),
    start('queue', preferredPorts.sqs, port => startSqs({ dataDir: path, port })),
    start('issuer', preferredPorts.issuer, port => startIssuer({ dataDir: path, port, audience: developmentAudience })),
  ] as const
  try {
    const [postgres, sqs, issuer] = await Promise.all(starting)
    const adminUrl = await ensureDatabase(postgres.adminUrl, databaseName)
    keepPasswords(dataDir)
    const plainUrl = withoutLogin(adminUrl)
    const databaseUrl = (role: LoginRole) => withLogin(plainUrl, path, role)
    writeLogins(dataDir, databaseUrl)
    readOrCreateSecret(dataDir.file('kek'), kekBytes)
    const environment = {
      ...files,
      KEK_FILE: dataDir.file('kek'),
      SQS_QUEUE_URL: sqs.queueUrl,
      AWS_ENDPOINT_URL_SQS: sqs.endpoint,
      JWT_ISSUER: issuer.issuer,
      JWT_AUDIENCE: issuer.audience,
      JWKS_URL: issuer.jwksUrl,
      ROLE_PASSWORDS_DIR: dataDir.file('passwords'),
      CHECKPOINT_URL: `${pathToFileURL(keepDirectory(dataDir, 'checkpoints'))}/`,
      // People who try it out should not have to wait for a proof.
      CHECKPOINT_SECONDS: '5',
    }
    return { dataDir, postgres, sqs, issuer, environment, adminUrl, plainUrl, databaseUrl, stop }
  } catch (error) {
    await Promise.allSettled(starting)
    await stop()
    throw error
  }
}

/** Takes the preferred port or, where somebody has it or was faster, any free one. */
export async function withPreferredPort<T>(preferred: number, launch: (port: number) => Promise<T>): Promise<T> {
  try {
    return await launch(preferred)
  } catch (error) {
    if (error instanceof TokenvaultError && error.code === 'port_unavailable') return launch(0)
    throw error
  }
}

function keepPasswords(dataDir: DataDir): void {
  keepDirectory(dataDir, 'passwords')
  for (const role of loginRoles) readOrCreatePassword(dataDir.file(join('passwords', role)))
}

function withoutLogin(databaseUrl: string): string {
  const url = new URL(databaseUrl)
  url.username = url.password = ''
  return url.href
}

/** The people who come with SQL. */
const sqlRoles = ['tokenvault_analyst', 'tokenvault_auditor'] as const

/** Where logins are kept for clients, so that no password has to stand in a command: by libpq's rules, and as whole URLs. */
function writeLogins(dataDir: DataDir, databaseUrl: (role: LoginRole) => string): void {
  keepDirectory(dataDir, 'urls')
  const lines = sqlRoles.map(role => {
    const url = databaseUrl(role)
    writeWhole(dataDir.file(join('urls', role)), `${url}\n`)
    const { hostname, port, pathname, username, password } = new URL(url)
    return `${hostname}:${port}:${pathname.slice(1)}:${username}:${password}\n`
  })
  writeWhole(dataDir.file(passwordFile), lines.join(''))
}

function keepDirectory(dataDir: DataDir, name: string): string {
  mkdirSync(dataDir.file(name), { recursive: true, mode: 0o700 })
  return dataDir.file(name)
}
