import type { PostgresPool, PostgresPoolClient } from 'kysely'
import { DatabaseError, type Pool } from 'pg'

/**
 * A connection on which a statement got no answer may still be at work on it, or dead without anyone having noticed:
 * it is ended instead of being handed to the next caller, who would wait behind it.
 */
export function withoutBroken(pool: Pool): PostgresPool {
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
