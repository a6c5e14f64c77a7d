import { sql } from 'kysely'
import type { AuditSearch } from '../vault/evidence/ports.ts'
import { type EventRow, eventColumns, toEvent } from './audit-reader.ts'
import { inTransaction, namingFailures, retryingConflicts, type TokenvaultDatabase } from './postgres/database.ts'

/** Most events that one statement indexes; a few ten milliseconds. */
const indexedAtOnce = 1000

/** Events by the tokens that they name. The index follows the log only when somebody searches, or asks for it. */
export function createAuditSearch(database: TokenvaultDatabase): AuditSearch {
  return {
    indexEvents: signal => namingFailures(() => indexEvents(database, signal)),

    findEvents: (digests, { before, limit }) =>
      namingFailures(async () => {
        await indexEvents(database)
        // The newest of each digest alone, read backwards from the index: some tokens are in very many events.
        const found = sql<EventRow>`
          select ${eventColumns} from (
            select distinct named.sequence from unnest(${digests}::text[]) as sought (digest), lateral (
              select audit_tokens.sequence from pii_vault.audit_tokens
              where audit_tokens.digest = sought.digest and audit_tokens.sequence < ${before ?? Number.MAX_SAFE_INTEGER}
              order by audit_tokens.sequence desc limit ${limit}
            ) as named
            order by named.sequence desc limit ${limit}
          ) as found join pii_vault.audit_log on audit_log.sequence = found.sequence
          order by audit_log.sequence desc`
        const { rows } = await retryingConflicts(() => found.execute(database))
        return rows.map(toEvent)
      }),
  }
}

/** Up to the events that were committed when this began; others may come as fast as they are indexed. */
async function indexEvents(database: TokenvaultDatabase, signal?: AbortSignal): Promise<void> {
  const head = await sql<{ tree_size: string }>`select tree_size from pii_vault.audit_head`.execute(database)
  const target = Number(head.rows[0]?.tree_size ?? 0)
  for (let next = 0, last = -1; next < target && next > last && !signal?.aborted; ) {
    last = next
    // Whoever waits for its head must see what was indexed meanwhile.
    const { rows } = await inTransaction(database, transaction =>
      sql<{ next: string }>`select pii_vault.index_audit(${indexedAtOnce}) as next`.execute(transaction),
    )
    next = Number(rows[0]!.next)
  }
}
