import { sql } from 'kysely'
import { repeat } from '../../concurrency/waiting.ts'
import type { TokenvaultError } from '../../errors.ts'
import { namingFailures, type TokenvaultDatabase } from './database.ts'

/** The server ends a transaction in which nothing happens for a minute. */
const heartbeatMilliseconds = 10_000

/**
 * Runs work while nobody else holds the lock. A transaction of its own holds it and nothing else, so that a pooler keeps its
 * session, vacuum is not held up, and the end of this process, whatever it dies of, ends the lock. A session that is lost meanwhile
 * stops nothing: what runs under such a lock can be done twice.
 *
 * @param database has another connection for the work
 * @param refuse what is thrown where somebody holds it
 * @throws what `refuse` gives; what the work throws
 */
export async function whileLocked<T>(
  database: TokenvaultDatabase,
  lock: string,
  refuse: () => TokenvaultError,
  work: () => Promise<T>,
): Promise<T> {
  let outcome: { readonly result: T } | undefined
  try {
    return await namingFailures(() =>
      database
        .transaction()
        .setIsolationLevel('read committed')
        .execute(async transaction => {
          await sql`select set_config('transaction_timeout', '0', true)
            where current_setting('server_version_num')::int >= 170000`.execute(transaction)
          const { rows } = await sql<{ held: boolean }>`
            select pg_try_advisory_xact_lock(hashtextextended(${lock}, 0)) as held`.execute(transaction)
          if (!rows[0]!.held) throw refuse()
          const ended = new AbortController()
          const beat = async () => {
            await sql`select 1`.execute(transaction)
            return heartbeatMilliseconds
          }
          const beating = repeat(beat, ended.signal, {
            firstAfterMilliseconds: heartbeatMilliseconds,
            ref: false,
          }).catch(() => {})
          try {
            outcome = { result: await work() }
            return outcome.result
          } finally {
            ended.abort()
            await beating
          }
        }),
    )
  } catch (error) {
    // The work is done; only the session that held the lock was lost.
    if (outcome !== undefined) return outcome.result
    throw error
  }
}
