import { Kysely, PostgresAdapter, PostgresDialect, type PostgresPool, type PostgresPoolClient, sql } from 'kysely'
import { DatabaseError, Pool, types } from 'pg'
import { TokenvaultError } from '../../errors.ts'
import type { HealthCheck } from '../../vault/admission/ports.ts'
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
    query_timeout: Math.max(statementTimeoutMilliseconds * 1.3, statementTimeoutMilliseconds + 2_000),
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

/**
 * A connection on which a statement got no answer may still be at work on it, or dead without anyone having noticed:
 * it is ended instead of being handed to the next caller, who would wait behind it.
 */
function withoutBroken(pool: Pool): PostgresPool {
  const connect = async (): Promise<PostgresPoolClient> => {
    const client = await pool.connect()
    let failure: unknown
    const query = async (text: string, parameters: readonly unknown[]) => {
      // The rollback that follows a failure would only wait once more, and then hide its cause.
      if (failure !== undefined) throw failure
      try {
        return await client.query(text, [...parameters])
      } catch (error) {
        // Whether a commit that failed took effect is not known, nor what state it left behind.
        if (isBroken(error) || text === 'commit') failure = error
        throw error
      }
    }
    return {
      query: query as unknown as PostgresPoolClient['query'],
      release: () => client.release(failure !== undefined),
    }
  }
  return { connect, end: () => pool.end(), options: pool.options }
}

/** No answer of the server, or its last one: class 57P, operator intervention, and a transaction that idled too long. */
function isBroken(error: unknown): boolean {
  return !(error instanceof DatabaseError) || /^(57P|25P03$)/.test(error.code ?? '')
}

/** SQLSTATE classes that blame the data: data exception, integrity constraint violation, program limit exceeded. */
const refusedClasses = new Set(['22', '23', '54'])

/**
 * Runs statements and names their failure. Only the SQLSTATE, or the name of a network error, goes on: a driver's
 * message and detail repeat parameters.
 *
 * @throws TokenvaultError `store_refused` where the data is to blame, otherwise `store_unavailable`
 */
export async function namingFailures<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (error instanceof TokenvaultError) throw error
    // A fault of ours, which trying again does not mend; drivers and the network raise errors of other kinds.
    if (error instanceof TypeError && !('code' in error)) throw error
    const code = error instanceof Error && 'code' in error ? String(error.code) : ''
    const sqlState = /^[0-9A-Z]{5}$/.test(code)
    const refused = sqlState && refusedClasses.has(code.slice(0, 2))
    const label = sqlState ? `SQLSTATE ${code}` : /^E[A-Z]+$/.test(code) ? code : 'connection lost'
    throw new TokenvaultError(refused ? 'store_refused' : 'store_unavailable', `the database answered: ${label}`)
  }
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
