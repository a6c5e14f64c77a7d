import { sql } from 'kysely'
import type { HealthCheck } from '../../vault/admission/ports.ts'
import type { TokenvaultDatabase } from './database.ts'
import { namingFailures } from './errors.ts'

/** Whether a statement gets through to the database. */
export function createDatabaseHealth(database: TokenvaultDatabase): HealthCheck {
  return {
    check: () =>
      namingFailures(async () => {
        await sql`select 1`.execute(database)
      }),
  }
}
