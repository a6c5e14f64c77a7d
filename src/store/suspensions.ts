import { sql } from 'kysely'
import type { Suspension, SuspensionReader } from '../vault/admission/ports.ts'
import type { TokenvaultDatabase } from './postgres/database.ts'
import { namingFailures } from './postgres/errors.ts'

/** Suspensions, to be read. They are made and lifted by acts only; see act-log.ts. */
export function createSuspensionReader(database: TokenvaultDatabase): SuspensionReader {
  return {
    listSuspensions: limit =>
      namingFailures(async () => {
        const { rows } = await sql<Suspension>`
          select issuer, subject, suspended_at as "suspendedAt" from pii_vault.suspensions
          order by suspended_at, principal limit ${limit}`.execute(database)
        return rows
      }),
  }
}
