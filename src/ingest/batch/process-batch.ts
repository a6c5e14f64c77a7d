import type { MessageQueue, ReceivedMessage, StoredCounts } from '../ports.ts'
import { tellBatch } from '../tell-batch.ts'
import type { DrainWatch } from './drain.ts'
import type { Heartbeat } from './heartbeat.ts'
import { type Settled, settle } from './settle.ts'
import { type BatchStoreContext, type BatchStored, storeBatch } from './store-batch.ts'

export interface BatchContext extends BatchStoreContext {
  readonly queue: MessageQueue
  readonly heartbeat: Heartbeat
  /** Of a worker that is to end once its queue is empty. */
  readonly drainWatch: DrainWatch | undefined
}

/** Stores a batch in one transaction, then settles its messages. */
export async function processBatch(
  batch: readonly ReceivedMessage[],
  context: BatchContext,
): Promise<StoredCounts & Settled> {
  const startedAtMs = performance.now()
  const stored = await storeBatch(batch, context)
  if (context.drainWatch !== undefined) tellDrain(context.drainWatch, stored)
  const settled = await settle(batch, stored.outcomes, context)
  tellBatch(stored, { messages: batch.length, startedAtMs, ...settled }, context)
  return { ...stored.counts, ...settled }
}

/** What stands behind a refused message of its group is received no sooner than that one is gone. */
function tellDrain(drainWatch: DrainWatch, { outcomes, unstorable, heldBack }: BatchStored): void {
  drainWatch.done(outcomes.keys())
  const refusedGroups = new Set(unstorable.map(({ groupId }) => groupId))
  drainWatch.setAside([...unstorable, ...heldBack.filter(({ groupId }) => refusedGroups.has(groupId))])
}
