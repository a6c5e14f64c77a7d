import { Kysely, PostgresAdapter, PostgresDialect, type PostgresPool, type PostgresPoolClient } from 'kysely'
import { Pool, type PoolClient, type PoolConfig, types } from 'pg'
import { backoff, pause } from '../../concurrency/waiting.ts'
import { type ErrorCode, TokenvaultError } from '../../errors.ts'
import { type ConnectionUrl, isSameDatabase, longestConnectMilliseconds, parseConnectionUrl } from './connection-url.ts'
import { classifyFailure, endsSession, type FailureKind } from './failures.ts'
import type { Database } from './schema.ts'
import { openClient, Session } from './session.ts'

export type TokenvaultDatabase = Kysely<Database>

export interface DatabaseOptions {
  /** postgresql:// URL of one role; a function is asked again for each session, since passwords are rotated. */
  readonly url: string | (() => string)
  /** The variable in which people find the URL. */
  readonly urlName?: string
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
export const dayTypes = {
  getTypeParser: (oid: number) => (oid === types.builtins.DATE ? String : types.getTypeParser(oid)),
}

/**
 * A pool of connections. Nothing is connected before the first statement; close it with `destroy()`.
 * Every wait is bounded: a server that hangs must not hang its callers.
 *
 * @throws TokenvaultError `config_invalid` where the URL holds something that is not supported, and what `url` throws
 */
export function createDatabase(options: DatabaseOptions): TokenvaultDatabase {
  const { url, urlName = 'DATABASE_URL', poolMax, applicationName, statementTimeoutMilliseconds = 30_000 } = options
  const currentUrl = rereading(url, urlName)
  const settings = {
    application_name: applicationName,
    statement_timeout: statementTimeoutMilliseconds,
    // The server ends a statement first, unless it or the network hangs.
    query_timeout: Math.max(statementTimeoutMilliseconds * 1.3, statementTimeoutMilliseconds + 2_000),
    idle_in_transaction_session_timeout: 60_000,
    keepAlive: true,
    types: dayTypes,
  }
  class PooledSession extends Session {
    constructor() {
      super(async isWanted => openClient(currentUrl(), settings, isWanted))
    }
  }
  const pool = new Pool({
    Client: PooledSession as unknown as NonNullable<PoolConfig['Client']>,
    max: poolMax,
    // It also bounds how long a caller waits for others.
    connectionTimeoutMillis: Math.max(5_000, longestConnectMilliseconds(currentUrl())),
  })
  // An idle connection that breaks is dropped by the pool; the next statement opens another or says why it cannot.
  pool.on('error', () => {})
  // One that breaks in use says so to its statement. Unheard, its event would end the process: a failover would.
  pool.on('connect', client => client.on('error', () => {}))
  return new Kysely<Database>({ dialect: new Dialect({ pool: withoutBroken(pool) }) })
}

/**
 * The URL as it is now. Its login may change at any time. Another database, in the midst of work, may be another vault: keys
 * and evidence were checked in the one of the start.
 */
function rereading(url: string | (() => string), urlName: string): () => ConnectionUrl {
  const read = typeof url === 'string' ? () => url : url
  let text = read()
  const first = parseConnectionUrl(text)
  let current = first
  return () => {
    const now = read()
    if (now === text) return current
    const next = parseAgain(now)
    if (!isSameDatabase(first, next)) {
      throw new TokenvaultError(
        'store_misconfigured',
        `${urlName} names another host, port or database than when the process started, which only a restart takes over`,
      )
    }
    text = now
    current = next
    return current
  }
}

function parseAgain(text: string): ConnectionUrl {
  try {
    return parseConnectionUrl(text)
  } catch (error) {
    throw new TokenvaultError('store_misconfigured', error instanceof TokenvaultError ? error.message : 'internal')
  }
}

/**
 * A connection on which a statement got no answer may still be at work on it, or dead without anyone having noticed; one
 * of a server that takes no writes any more would refuse them for ever. Such a connection is ended instead of being
 * handed to the next caller, and with a server that is going away, or is not the primary, all that were made before.
 */
function withoutBroken(pool: Pool): PostgresPool {
  let generation = 0
  const generations = new WeakMap<PoolClient, number>()
  pool.on('connect', client => generations.set(client, generation))

  async function takeClient(): Promise<PoolClient> {
    for (;;) {
      const client = await pool.connect()
      if (generations.get(client) === generation) return client
      client.release(true)
    }
  }

  const connect = async (): Promise<PostgresPoolClient> => {
    const client = await takeClient()
    let failure: unknown
    const query = async (text: string, parameters: readonly unknown[]) => {
      // The rollback that follows a failure would only wait once more, and then hide its cause.
      if (failure !== undefined) throw failure
      try {
        return await client.query(text, [...parameters])
      } catch (error) {
        const named = classifyFailure(error)
        if (named.kind === 'server' && generations.get(client) === generation) generation++
        // Whether a commit that failed took effect is not known, nor what state it left behind.
        if (endsSession(named) || text === 'commit') failure = error
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

/** Tries of what other transactions were in the way of. */
const conflictAttempts = 6

/**
 * Runs work whose statements must each see what was committed before them, whatever isolation the database or the role
 * has as its default; again where it lost against another transaction.
 *
 * @param work may run several times; what it did in the database before is undone then
 */
export function inTransaction<T>(
  database: TokenvaultDatabase,
  work: (transaction: TokenvaultDatabase) => Promise<T>,
): Promise<T> {
  return retryingConflicts(() => database.transaction().setIsolationLevel('read committed').execute(work))
}

/**
 * Runs one statement, or one transaction, again where it lost against another transaction: Postgres has undone all of it.
 * Under `serializable` that is the ordinary course of things.
 */
export async function retryingConflicts<T>(work: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await work()
    } catch (error) {
      if (attempt === conflictAttempts || classifyFailure(error).kind !== 'conflict') throw error
      await pause(backoff(attempt, { first: 5, longest: 200 }))
    }
  }
}

const codeOf: Readonly<Record<FailureKind, ErrorCode>> = {
  data: 'store_refused',
  conflict: 'store_unavailable',
  environment: 'store_unavailable',
  session: 'store_unavailable',
  server: 'store_unavailable',
  permanent: 'store_misconfigured',
}

/**
 * Runs statements and names their failure. Only words of ours and the SQLSTATE, or the name of a network error, go on: a
 * driver's message and detail repeat parameters.
 *
 * @throws TokenvaultError `store_refused` where the data is to blame, `store_misconfigured` where time mends nothing,
 *   otherwise `store_unavailable`
 */
export async function namingFailures<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (error instanceof TokenvaultError) throw error
    // A fault of ours, which trying again does not mend; drivers and the network raise errors of other kinds.
    if (error instanceof TypeError && !('code' in error)) throw error
    const { kind, label, says } = classifyFailure(error)
    throw new TokenvaultError(codeOf[kind], `${says === undefined ? '' : `${says}; `}the database answered: ${label}`)
  }
}
