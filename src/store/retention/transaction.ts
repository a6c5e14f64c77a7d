import { sql } from 'kysely'
import { DatabaseError } from 'pg'
import { pause } from '../../concurrency/waiting.ts'
import type { AuditEvent } from '../../vault/admission/ports.ts'
import type { TokenvaultDatabase } from '../postgres/database.ts'

/** In the transaction of what it is about. */
export async function appendEvent(transaction: TokenvaultDatabase, event: AuditEvent): Promise<void> {
  const line = Buffer.from(JSON.stringify(event), 'utf8')
  await sql`select pii_vault.append_audit(array[${line}::bytea])`.execute(transaction)
}

/** While a job waits for a lock, everybody who comes after it waits, too: so it gives up soon, and tries again. */
const lockTimeoutMilliseconds = 800
const mostTries = 50

/** Tries again where others held a lock for long, or two waited for each other. @throws whatever else the work throws */
export async function patiently<T>(work: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      return await work()
    } catch (error) {
      if (tries === mostTries || !isLockFailure(error)) throw error
      await pause(Math.min(5_000, 100 * tries), new AbortController().signal)
    }
  }
}

/** For this transaction. */
export async function waitBriefly(transaction: TokenvaultDatabase): Promise<void> {
  await sql`select set_config('lock_timeout', ${`${lockTimeoutMilliseconds}ms`}, true)`.execute(transaction)
}

function isLockFailure(error: unknown): boolean {
  return error instanceof DatabaseError && (error.code === '55P03' || error.code === '40P01')
}
