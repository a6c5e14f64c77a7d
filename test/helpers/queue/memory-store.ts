import type { IngestStore, LoginRow, MessageEffect, StoredCounts } from '../../../src/ingest/ports.ts'
import type { QuarantinedEvent } from '../../../src/vault/quarantine/ports.ts'

export interface MemoryStore extends IngestStore {
  readonly receipts: ReadonlyMap<string, number>
  readonly rows: readonly LoginRow[]
  readonly quarantined: readonly QuarantinedEvent[]
}

/**
 * The contract of the real store, exactly once by receipts, without its database: for faults that a database does not
 * make on demand.
 * @param around called instead of the commit, which it may call, not call, or call and then fail
 */
export function createMemoryStore(
  around: (
    commit: () => StoredCounts,
    effects: readonly MessageEffect[],
  ) => StoredCounts | Promise<StoredCounts> = commit => commit(),
): MemoryStore {
  const receipts = new Map<string, number>()
  const rows: LoginRow[] = []
  const quarantined: QuarantinedEvent[] = []
  return {
    receipts,
    rows,
    quarantined,
    async storeEffects(effects) {
      if (new Set(effects.map(({ messageId }) => messageId)).size < effects.length)
        throw new Error('repeated message id')
      return around(() => {
        const fresh = effects.filter(({ messageId, sentOn }) => !receipts.has(`${sentOn}/${messageId}`))
        for (const effect of fresh) {
          receipts.set(`${effect.sentOn}/${effect.messageId}`, effect.rows.length)
          rows.push(...effect.rows)
          quarantined.push(...effect.quarantined)
        }
        return {
          rows: fresh.reduce((sum, effect) => sum + effect.rows.length, 0),
          quarantined: fresh.reduce((sum, effect) => sum + effect.quarantined.length, 0),
          duplicates: effects.length - fresh.length,
        }
      }, effects)
    },
  }
}
