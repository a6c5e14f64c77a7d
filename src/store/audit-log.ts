import { sql } from 'kysely'
import type { AuditEvent, AuditLog } from '../vault/ports.ts'
import type { TokenvaultDatabase } from './database.ts'
import { namingFailures } from './failure.ts'

interface Waiting {
  readonly event: Buffer
  readonly resolve: (receipt: { sequence: number }) => void
  readonly reject: (error: unknown) => void
}

/** Most events that one commit takes. */
const maxGroup = 500

/**
 * The append-only log. Appends are serialized by the head's row lock anyway, so while one commit is under way the
 * others wait together and share the next: the cost of a commit is spread over all who wait for it.
 */
export function createAuditLog(database: TokenvaultDatabase): AuditLog {
  const waiting: Waiting[] = []
  let committing = false

  async function commitWaiting(): Promise<void> {
    committing = true
    while (waiting.length > 0) {
      const group = waiting.splice(0, maxGroup)
      try {
        const first = await namingFailures(() =>
          appendEvents(
            database,
            group.map(({ event }) => event),
          ),
        )
        for (const [index, { resolve }] of group.entries()) resolve({ sequence: first + index })
      } catch (error) {
        for (const { reject } of group) reject(error)
      }
    }
    committing = false
  }

  return {
    append: (event: AuditEvent) =>
      new Promise((resolve, reject) => {
        // Serialized here once: what is hashed is exactly what is stored.
        waiting.push({ event: Buffer.from(JSON.stringify(event), 'utf8'), resolve, reject })
        if (!committing) void commitWaiting()
      }),
  }
}

/** @returns the sequence of the first event */
async function appendEvents(database: TokenvaultDatabase, events: readonly Buffer[]): Promise<number> {
  const { rows } = await sql<{ first: string }>`select pii_vault.append_audit(${events}) as first`.execute(database)
  return Number(rows[0]!.first)
}
