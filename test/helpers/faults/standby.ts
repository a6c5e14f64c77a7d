import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import pg from 'pg'
import type { Test } from 'tap'
import { startPostgres } from '../../../src/embedded/postgres.ts'
import { temporaryDirectory } from '../embedded/embedded-directory.ts'
import { until } from './plan.ts'
import { startPostgresProxy } from './postgres-proxy.ts'
import { copyCluster, startPostgresServer } from './postgres-server.ts'
import type { FaultDatabase } from './world.ts'

/** A primary and its streaming standby, each a server of its own with fsync. */
export interface PostgresPair {
  /** By way of one address that leads to the primary, and after the failover to the former standby. */
  readonly database: FaultDatabase
  /** The same role's URL that names both servers and asks for the one that takes writes. */
  urlOfBoth(role: Parameters<FaultDatabase['urlFor']>[0]): string
  /** What the standby has received is all that it will ever have. */
  cutReplication(): void
  /** SIGKILL to the primary; the standby is promoted, and takes its place. */
  failOver(): Promise<void>
}

/**
 * Two servers from copies of one cluster, of which the second follows the first. There is no pg_basebackup in the package.
 *
 * @param migrated what makeMigrated made
 * @param options.isSynchronous a commit is answered when the standby has it on disk
 */
export async function startPair(
  t: Test,
  migrated: string,
  { isSynchronous }: { readonly isSynchronous: boolean },
): Promise<PostgresPair> {
  const names = isSynchronous ? '*' : ''
  const primary = await startPostgresServer(t, {
    copyOf: migrated,
    changes: { settings: { synchronous_standby_names: names } },
  })
  const dataDir = temporaryDirectory(t)
  copyCluster(migrated, dataDir)
  writeFileSync(join(dataDir, 'postgres', 'standby.signal'), '')

  let replicates = true
  const replication = await startPostgresProxy(t, () => (replicates ? primary.port : undefined))
  const { username, password } = new URL(primary.database.adminUrl)
  // The proxy knows neither TLS nor GSSAPI.
  const connection = `host=127.0.0.1 port=${replication.port} user=${username} password=${password} sslmode=disable gssencmode=disable`
  const standby = await startPostgres({ dataDir, port: 0, changes: { settings: { primary_conninfo: connection } } })
  t.teardown(() => standby.stop())
  await until('the standby follows', async () => {
    const rows = await ask(primary.database.adminUrl, 'SELECT sync_state FROM pg_stat_replication WHERE state = $1', [
      'streaming',
    ])
    return rows[0]?.['sync_state'] === (isSynchronous ? 'sync' : 'async')
  })

  let leadsTo: number | undefined = primary.port
  const address = await startPostgresProxy(t, () => leadsTo)
  const through = (url: string) => {
    const other = new URL(url)
    other.port = String(address.port)
    return other.href
  }
  const { adminUrl, kekFile, urlFor } = primary.database
  return {
    database: { adminUrl: through(adminUrl), kekFile, urlFor: role => through(urlFor(role)) },
    urlOfBoth: role =>
      `${urlFor(role).replace(`:${primary.port}/`, `:${primary.port},127.0.0.1:${standby.port}/`)}?target_session_attrs=read-write`,
    cutReplication() {
      replicates = false
      replication.cutAll()
    },
    async failOver() {
      primary.kill()
      // What waits at the address finds nobody, as with an address that is moved.
      leadsTo = undefined
      address.cutAll()
      const [row] = await ask(standby.adminUrl, 'SELECT pg_promote(true, 60) AS promoted', [])
      if (row?.['promoted'] !== true) throw new Error('the standby was not promoted')
      leadsTo = standby.port
    },
  }
}

async function ask(url: string, text: string, values: readonly unknown[]): Promise<Record<string, unknown>[]> {
  const client = new pg.Client({ connectionString: url })
  client.on('error', () => {})
  await client.connect()
  try {
    return (await client.query(text, [...values])).rows
  } finally {
    await client.end()
  }
}
