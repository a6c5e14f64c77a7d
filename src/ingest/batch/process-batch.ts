import type { Log } from '../../log.ts'
import { describeReceived, type Observe } from '../metrics/observe.ts'
import { logTally, sumOf } from '../metrics/tally.ts'
import type { IngestStore, MessageQueue, ReceivedMessage } from '../ports.ts'
import type { DrainWatch } from './drain.ts'
import type { Heartbeat, MessagesInFlight } from './in-flight.ts'
import { startRun } from './run.ts'
import { type BatchStoreContext, type BatchStored, type Outcome, storeBatch } from './store-batch.ts'
import type { TokenizeMessages } from './tokenize-messages.ts'

export interface Settled {
  readonly released: number
  readonly undeleted: number
}

/** What became of one batch; as in WorkerTotals. */
export interface BatchCounts extends Settled {
  readonly stored: number
  readonly quarantined: number
  readonly placeholders: number
  readonly duplicates: number
  readonly unstorable: number
  readonly heldBack: number
}

interface SettleContext {
  readonly queue: Pick<MessageQueue, 'delete' | 'release'>
  readonly inFlight: Pick<MessagesInFlight, 'claimForDelete' | 'claimForRelease' | 'remove'>
  readonly heartbeat: Pick<Heartbeat, 'quiet'>
  readonly log: Log
  readonly observe?: Observe | undefined
}

export interface BatchContext {
  readonly storing: BatchStoreContext
  readonly settling: SettleContext
  /** Of a worker that is to end once its queue is empty. */
  readonly drainWatch: DrainWatch | undefined
  readonly telling: TellContext
}

interface TellContext {
  readonly log: Log
  readonly observe?: Observe | undefined
}

/** Stores a batch in one transaction, then settles its messages. */
export async function processBatch(
  batch: readonly ReceivedMessage[],
  { storing, settling, drainWatch, telling }: BatchContext,
): Promise<BatchCounts> {
  const startedAtMs = performance.now()
  const stored = await storeBatch(batch, storing)
  if (drainWatch !== undefined) tellDrain(drainWatch, stored)
  const settled = await settle(batch, stored.outcomes, settling)
  tellBatch(stored, { messages: batch.length, startedAtMs, ...settled }, telling)
  const { tally, duplicates, unstorable, heldBack } = stored
  return {
    stored: tally.rows,
    quarantined: sumOf(tally.reasons),
    placeholders: sumOf(tally.placeholders),
    duplicates,
    unstorable: unstorable.length,
    heldBack: heldBack.length,
    ...settled,
  }
}

/** What stands behind a refused message of its group is received no sooner than that one is gone. */
function tellDrain(drainWatch: DrainWatch, { outcomes, unstorable, heldBack }: BatchStored): void {
  drainWatch.done(outcomes.keys())
  const refusedGroups = new Set(unstorable.map(({ groupId }) => groupId))
  drainWatch.setAside([...unstorable, ...heldBack.filter(({ groupId }) => refusedGroups.has(groupId))])
}

/**
 * Tells the queue the outcome of each message of a batch, with the newest receipt handle that is known.
 *
 * A delete follows the commit, so it is right whenever it happens, even with a handle whose time is over: at worst it does
 * nothing, the message comes once more, finds its delivery record and is deleted with its new handle. That is why a message
 * whose visibility ran out while it waited is stored all the same; dropping it would waste the work and, on a slow
 * database, never get anywhere. A release is the opposite: with an expired handle it could end the hidden time of
 * another worker, so only what is still hidden for us is released; the rest is left.
 *
 * Never throws: what could not be settled comes back by itself.
 */
async function settle(
  batch: readonly ReceivedMessage[],
  outcomes: ReadonlyMap<string, Outcome>,
  { queue, inFlight, heartbeat, log, observe }: SettleContext,
): Promise<Settled> {
  const deletable = [...outcomes].flatMap(([messageId, { kind }]) => (kind === 'delete' ? [messageId] : []))
  const delayed = [...outcomes].flatMap(([messageId, outcome]) =>
    outcome.kind === 'delay' ? [{ messageId, ...outcome }] : [],
  )
  const byDelay = Map.groupBy(delayed, ({ delaySeconds }) => delaySeconds)

  const deleting = inFlight.claimForDelete(deletable)
  const nowMs = performance.now()
  const releasing = [...byDelay].map(([delaySeconds, group]) => {
    const messageIds = group.map(({ messageId }) => messageId)
    return { delaySeconds, messages: inFlight.claimForRelease(messageIds, batch, nowMs) }
  })
  inFlight.remove(batch)

  let undeleted = 0
  let released = 0
  try {
    undeleted = (await queue.delete(deleting)).length
    for (const { delaySeconds, messages } of releasing) {
      if (messages.length === 0) continue
      await heartbeat.quiet()
      await queue.release(messages, delaySeconds)
      released += messages.length
    }
  } catch (err) {
    log.warn({ event: 'batch_not_settled', messages: batch.length, err })
    observe?.({ kind: 'queue_failed', operation: 'settle' })
  }
  return { released, undeleted }
}

/** Tries before Lambda's event is given up where the store is away: about a second of waiting, and what each try takes. */
const lambdaAttempts = 4

/** Milliseconds that a function keeps of its time, for a try under way and for its last words. */
export const lambdaReserveMilliseconds = 10_000

/**
 * Stores the messages of one Lambda event as the worker stores a batch: tokens, originals and delivery records in one
 * transaction, what is not an event into quarantine, and each message once however often Lambda delivers it. Lambda settles.
 *
 * @param options.remainingMilliseconds until Lambda ends the function: a store that is away is waited for meanwhile, because each
 *   event that fails spends a receive of all of its messages
 * @returns ids of the messages that have no effect: those that the store refuses even alone and, of a FIFO queue, those
 *   behind them in their group
 * @throws TokenvaultError `store_unavailable`, `store_misconfigured` (at the first try), or what the tokenizer throws. Lambda then
 *   deletes none of the messages; those that took effect all the same come again and change nothing. It counts an error of the
 *   function, so that a fault of the environment does not look like one of the messages.
 */
export async function processLambdaBatch(
  batch: readonly ReceivedMessage[],
  {
    tokenizeMessages,
    store,
    remainingMilliseconds,
    ...telling
  }: TellContext & {
    readonly tokenizeMessages: TokenizeMessages
    readonly store: IngestStore
    readonly remainingMilliseconds?: number | undefined
  },
): Promise<string[]> {
  const startedAtMs = performance.now()
  const patientUntilMs = startedAtMs + (remainingMilliseconds ?? 0) - lambdaReserveMilliseconds
  const run = startRun(lambdaAttempts, { patientUntilMs })
  if (batch.length > 0) telling.observe?.(describeReceived(batch))
  // Lambda hides the messages while the function runs (its visibility timeout must be longer than the function's), and
  // tells us nothing of when that ends. As far as we are concerned, it does not.
  const inFlight = { anyHidden: () => true }
  const stored = await storeBatch(batch, { tokenizeMessages, store, inFlight, run, ...telling })
  const failed = [...stored.outcomes].flatMap(([messageId, { kind }]) => (kind === 'delete' ? [] : [messageId]))
  // Lambda deletes, and says nothing of it.
  tellBatch(stored, { messages: batch.length, startedAtMs, released: failed.length, undeleted: 0 }, telling)
  run.end()
  return failed
}

/** Says what became of a batch: one event for the metrics, one line for the log, and one more for each reason and each field. */
function tellBatch(
  { tally, duplicates, unstorable }: BatchStored,
  done: Settled & { readonly messages: number; readonly startedAtMs: number },
  { log, observe }: TellContext,
): void {
  const { messages, startedAtMs, released, undeleted } = done
  const { rows, reasons, placeholders } = tally
  const durationMs = Math.round(performance.now() - startedAtMs)
  observe?.({
    kind: 'batch',
    messages,
    ...{ rows, reasons, placeholders },
    duplicates,
    released,
    undeleted,
    unstorable: unstorable.length,
    seconds: durationMs / 1000,
  })
  log.info({ event: 'batch', messages, rows, quarantined: sumOf(reasons), duplicates, durationMs })
  logTally(tally, log)
}
