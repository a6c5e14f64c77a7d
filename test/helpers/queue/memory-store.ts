import type { IngestStore, LoginRow, Stored, TokenizedMessage } from '../../../src/ingest/ports.ts'
import type { QuarantinedEvent } from '../../../src/vault/quarantine/ports.ts'

export interface MemoryStore extends IngestStore {
  readonly deliveries: ReadonlyMap<string, number>
  readonly rows: readonly LoginRow[]
  readonly quarantined: readonly QuarantinedEvent[]
}

/**
 * The contract of the real store, exactly once by delivery records, without its database: for faults that a database does not
 * make on demand.
 * @param around called instead of the commit, which it may call, not call, or call and then fail
 */
export function createMemoryStore(
  around: (commit: () => Stored, messages: readonly TokenizedMessage[]) => Stored | Promise<Stored> = commit =>
    commit(),
): MemoryStore {
  const deliveries = new Map<string, number>()
  const rows: LoginRow[] = []
  const quarantined: QuarantinedEvent[] = []
  return {
    deliveries,
    rows,
    quarantined,
    async storeMessages(messages) {
      if (new Set(messages.map(({ messageId }) => messageId)).size < messages.length)
        throw new Error('repeated message id')
      return around(() => {
        const fresh = messages.filter(({ messageId, sentOn }) => !deliveries.has(`${sentOn}/${messageId}`))
        const repeated = new Set(messages.map(({ messageId }) => messageId))
        for (const message of fresh) {
          repeated.delete(message.messageId)
          deliveries.set(`${message.sentOn}/${message.messageId}`, message.rows.length)
          rows.push(...message.rows)
          quarantined.push(...message.quarantined)
        }
        return {
          rows: fresh.reduce((sum, message) => sum + message.rows.length, 0),
          quarantined: fresh.reduce((sum, message) => sum + message.quarantined.length, 0),
          duplicates: repeated.size,
          repeated,
        }
      }, messages)
    },
  }
}
