import { closeSync, existsSync, mkdirSync, openSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { TokenvaultError } from '../errors.ts'
import type { Log } from '../log.ts'
import { findFreePort, isPortFree } from './free-port.ts'
import { preparePostgres } from './postgres-binaries.ts'
import { adminRole, createCluster, hasCluster, postgresUser } from './postgres-cluster.ts'
import { launch, type ServerChanges } from './postgres-process.ts'
import { removeHalfMade, stopSurvivors } from './postgres-survivors.ts'
import { readOrCreatePassword } from './secret-file.ts'

/** A Postgres 18 that runs, on 127.0.0.1 only. */
export interface EmbeddedPostgres {
  readonly port: number
  /** URL of the superuser, password included, for the database `postgres`. */
  readonly adminUrl: string
  /** Fast shutdown; resolves when no process of it is left. */
  stop(): Promise<void>
}

/**
 * Starts the embedded Postgres, with its cluster in `postgres/`, its log in `postgres.log` and the superuser's
 * password in `postgres-password` of the directory. As root, Postgres runs as the owner of the cluster (uid 65534).
 * It survives a Ctrl-C and a kill of this process; the next start stops such a survivor first.
 *
 * @param options.dataDir a directory that the caller has locked (`openDataDir`)
 * @param options.port 0 picks a free one
 * @param options.isDurable false gives up fsync, for tests
 * @param options.changes for tests, too
 * @throws TokenvaultError `port_unavailable`; `embedded_failed`
 */
export async function startPostgres(options: {
  readonly dataDir: string
  readonly port: number
  readonly log?: Log
  readonly isDurable?: boolean
  readonly changes?: ServerChanges
}): Promise<EmbeddedPostgres> {
  const { dataDir, isDurable = true, changes = {} } = options
  mkdirSync(dataDir, { recursive: true, mode: 0o700 })
  const cluster = join(dataDir, 'postgres')
  const runAs = postgresUser(cluster)
  const binaries = preparePostgres(runAs)
  await removeHalfMade(cluster)
  const isNew = !hasCluster(cluster)
  if (isNew && existsSync(cluster) && readdirSync(cluster).length > 0) {
    throw new TokenvaultError('embedded_failed', 'The directory postgres holds files but no Postgres cluster')
  }
  const passwordPath = join(dataDir, 'postgres-password')
  if (!isNew && !existsSync(passwordPath)) {
    throw new TokenvaultError('embedded_failed', 'The file postgres-password of this Postgres cluster is missing')
  }
  const password = readOrCreatePassword(passwordPath)
  const logFile = openSync(join(dataDir, 'postgres.log'), 'a', 0o600)
  try {
    if (isNew) await createCluster({ cluster, binaries, runAs, password, isDurable, logFile })
    else await stopSurvivors(cluster, binaries)
    for (let attempt = 1; ; attempt++) {
      const port = options.port === 0 ? await findFreePort() : options.port
      if (!(await isPortFree(port))) throw portUnavailable(port)
      const stop = await launch({ cluster, binaries, runAs, port, isDurable, logFile, log: options.log, changes })
      if (stop !== undefined) {
        return { port, adminUrl: `postgresql://${adminRole}:${password}@127.0.0.1:${port}/postgres`, stop }
      }
      // Between the look and the start, somebody else can have taken the port.
      const isTaken = !(await isPortFree(port))
      if (!isTaken) throw new TokenvaultError('embedded_failed', 'Postgres did not start; see postgres.log')
      if (options.port !== 0 || attempt === 3) throw portUnavailable(port)
    }
  } finally {
    closeSync(logFile)
  }
}

function portUnavailable(port: number): TokenvaultError {
  return new TokenvaultError('port_unavailable', `Cannot listen on port ${port} for Postgres`)
}
