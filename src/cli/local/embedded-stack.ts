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
import { kekBytes } from '../../kms/local.ts'
import type { Log } from '../../log.ts'
import { ensureDatabase } from '../../store/setup/ensure-database.ts'
import { type LoginRole, loginRoles } from '../../store/setup/role-passwords.ts'
import { developmentAudience } from './state.ts'

const databaseName = 'tokenvault'
const preferredPorts = { postgres: 54_320, sqs: 9324, issuer: 3001 }

/** Everything around tokenvault, on this machine: what production finds in its environment. */
export interface EmbeddedStack {
  readonly dataDir: DataDir
  readonly postgres: EmbeddedPostgres
  readonly sqs: EmbeddedSqs
  readonly issuer: EmbeddedIssuer
  /** What `tokenvault migrate`, `worker` and `api` need besides DATABASE_URL. */
  readonly environment: Environment
  /** URL of the superuser for tokenvault's database. */
  readonly adminUrl: string
  databaseUrl(role: LoginRole): string
  stop(): Promise<void>
}

/**
 * Starts Postgres, the queue and the issuer on a data directory, and makes the secrets they need there (mode 0600).
 * The directory is released when they have stopped, or did not start.
 *
 * @param options.freePorts true lets every server take any free port; otherwise its usual one where that is free
 * @throws TokenvaultError `embedded_failed`, `port_unavailable`
 */
export async function startStack(options: {
  readonly dataDir: DataDir
  readonly freePorts: boolean
  readonly log: Log
}): Promise<EmbeddedStack> {
  const { dataDir, freePorts, log } = options
  const started: { stop(): Promise<void> }[] = []
  const stop = async () => {
    const stops = await Promise.allSettled(started.map(server => server.stop()))
    dataDir.release()
    for (const result of stops) if (result.status === 'rejected') throw result.reason
  }
  const start = async <T extends { stop(): Promise<void> }>(
    preferred: number,
    launch: (port: number) => Promise<T>,
  ): Promise<T> => {
    const server = await (freePorts ? launch(0) : withPreferredPort(preferred, launch))
    started.push(server)
    return server
  }
  const { path } = dataDir
  const starting = [
    start(preferredPorts.postgres, port => startPostgres({ dataDir: path, port, log })),
    start(preferredPorts.sqs, port => startSqs({ dataDir: path, port })),
    start(preferredPorts.issuer, port => startIssuer({ dataDir: path, port, audience: developmentAudience })),
  ] as const
  try {
    const [postgres, sqs, issuer] = await Promise.all(starting)
    const adminUrl = await ensureDatabase(postgres.adminUrl, databaseName)
    const passwords = keepPasswords(dataDir)
    const databaseUrl = (role: LoginRole) => {
      const url = new URL(adminUrl)
      url.username = role
      url.password = passwords.get(role)!
      return url.href
    }
    readOrCreateSecret(dataDir.file('kek'), kekBytes)
    const environment = {
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
    return { dataDir, postgres, sqs, issuer, environment, adminUrl, databaseUrl, stop }
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

function keepPasswords(dataDir: DataDir): ReadonlyMap<LoginRole, string> {
  keepDirectory(dataDir, 'passwords')
  return new Map(loginRoles.map(role => [role, readOrCreatePassword(dataDir.file(join('passwords', role)))]))
}

function keepDirectory(dataDir: DataDir, name: string): string {
  mkdirSync(dataDir.file(name), { recursive: true, mode: 0o700 })
  return dataDir.file(name)
}
