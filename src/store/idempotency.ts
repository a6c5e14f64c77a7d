import { sql } from 'kysely'
import type { IdempotencyStore } from '../vault/admission/ports.ts'
import { namingFailures, retryingConflicts, type TokenvaultDatabase } from './postgres/database.ts'

type Claim = Awaited<ReturnType<IdempotencyStore['claim']>>

/** Replies by principal and key, kept for 24 hours and shared by all processes of the API. */
export function createIdempotencyStore(database: TokenvaultDatabase): IdempotencyStore {
  return {
    claim: ({ issuer, subject }, key, fingerprint) =>
      changing(async () => {
        const { rows } = await sql<{ state: Claim['state']; status: number | null; body: string | null }>`
          select state, status, body
          from pii_vault.claim_idempotency(${issuer}, ${subject}, ${key}, ${fingerprint})`.execute(database)
        const { state, status, body } = rows[0]!
        return state === 'done' ? { state, status: status!, body: body! } : { state }
      }),

    complete: ({ issuer, subject }, key, { status, body }) =>
      changing(async () => {
        await sql`select pii_vault.complete_idempotency(${issuer}, ${subject}, ${key}, ${status}, ${body})`.execute(
          database,
        )
      }),

    release: ({ issuer, subject }, key) =>
      changing(async () => {
        await sql`select pii_vault.release_idempotency(${issuer}, ${subject}, ${key})`.execute(database)
      }),
  }
}

/** Each is one statement, which two calls with one key may run at the same time. */
function changing<T>(statement: () => Promise<T>): Promise<T> {
  return namingFailures(() => retryingConflicts(statement))
}
