import { Kysely, PostgresAdapter, PostgresDialect, sql } from 'kysely'
import { Pool, types } from 'pg'
import type { HealthCheck } from '../../vault/admission/ports.ts'
import { withoutBroken } from './broken-connections.ts'
import { namingFailures } from './errors.ts'
import type { Database } from './schema.ts'

export type TokenvaultDatabase = Kysely<Database>

export interface DatabaseOptions {
  /** postgres:// URL of one role. */
  readonly url: string
  /** Connections held at most. */
  readonly poolMax: number
  /** Shown to administrators in pg_stat_activity. */
  readonly applicationName: string
  /** How long the server may work on one statement. */
  readonly statementTimeoutMilliseconds?: number
}

/** Migrations run inside a transaction that holds a lock of its own; see migrate.ts. */
class Adapter extends PostgresAdapter {
  override async acquireMigrationLock(): Promise<void> {}
  override async releaseMigrationLock(): Promise<void> {}
}

class Dialect extends PostgresDialect {
  override createAdapter(): PostgresAdapter {
    return new Adapter()
  }
}

/** Dates stay YYYY-MM-DD: a Date would move them into the time zone of this process. */
const dayTypes = { getTypeParser: (oid: number) => (oid === types.builtins.DATE ? String : types.getTypeParser(oid)) }

/**
 * A pool of connections. Nothing is connected before the first statement; close it with `destroy()`.
 * Every wait is bounded: a server that hangs must not hang its callers.
 */
export function createDatabase(options: DatabaseOptions): TokenvaultDatabase {
  const { url, poolMax, applicationName, statementTimeoutMilliseconds = 30_000 } = options
  const pool = new Pool({
    connectionString: url,
    max: poolMax,
    application_name: applicationName,
    connectionTimeoutMillis: 5_000,
    statement_timeout: statementTimeoutMilliseconds,
    // The server ends a statement first, unless it or the network hangs.
    query_timeout: statementTimeoutMilliseconds * 1.3,
    idle_in_transaction_session_timeout: 60_000,
    keepAlive: true,
    types: dayTypes,
  })
  // An idle connection that breaks is dropped by the pool; the next statement opens another or says why it cannot.
  pool.on('error', () => {})
  // One that breaks in use says so to its statement. Unheard, its event would end the process: a failover would.
  pool.on('connect', client => client.on('error', () => {}))
  return new Kysely<Database>({ dialect: new Dialect({ pool: withoutBroken(pool) }) })
}

/** Whether a statement gets through to the database. */
export function createDatabaseHealth(database: TokenvaultDatabase): HealthCheck {
  return {
    check: () =>
      namingFailures(async () => {
        await sql`select 1`.execute(database)
      }),
  }
}
