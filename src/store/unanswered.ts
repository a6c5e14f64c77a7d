import type { PostgresPool, PostgresPoolClient } from 'kysely'
import { DatabaseError, type Pool } from 'pg'

/**
 * A connection on which a statement got no answer may still be at work on it, or dead without anyone having noticed:
 * it is ended, and never handed to the next caller, who would wait behind it.
 */
export function withoutUnanswered(pool: Pool): PostgresPool {
  const connect = async (): Promise<PostgresPoolClient> => {
    const client = await pool.connect()
    let unanswered: Error | undefined
    const query = async (text: string, parameters: readonly unknown[]) => {
      // The rollback that follows a failure would only wait once more.
      if (unanswered !== undefined) throw unanswered
      try {
        return await client.query(text, [...parameters])
      } catch (error) {
        if (error instanceof Error && !(error instanceof DatabaseError)) unanswered = error
        throw error
      }
    }
    return {
      query: query as unknown as PostgresPoolClient['query'],
      release: () => client.release(unanswered !== undefined),
    }
  }
  return { connect, end: () => pool.end(), options: pool.options }
}
