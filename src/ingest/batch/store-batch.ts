import { backoffMilliseconds, pause, releaseDelaySeconds } from '../../concurrency/backoff.ts'
import { TokenvaultError } from '../../errors.ts'
import type { Log } from '../../log.ts'
import type { Observe } from '../metrics/observe.ts'
import type { IngestStore, ReceivedMessage, StoredCounts, TokenizedMessage } from '../ports.ts'
import type { MessagesInFlight } from './in-flight.ts'
import type { Outcome } from './settle.ts'
import type { TokenizeMessages } from './tokenize-messages.ts'

export interface BatchStored {
  readonly counts: StoredCounts
  /** One outcome a message id. */
  readonly outcomes: ReadonlyMap<string, Outcome>
  /** Quarantined events, or whole messages, by reason. */
  readonly reasons: ReadonlyMap<string, number>
  /** Messages that the store refuses even alone. */
  readonly unstorable: readonly ReceivedMessage[]
  /** Messages of a FIFO queue that wait for one of their group. */
  readonly heldBack: readonly ReceivedMessage[]
}

export interface BatchStoreContext {
  readonly tokenizeMessages: TokenizeMessages
  readonly store: IngestStore
  readonly inFlight: MessagesInFlight
  readonly log: Log
  readonly stop: AbortSignal
  /** Tries before an unavailable store is given up; infinite for a worker that stays. */
  readonly maxAttempts: number
  /** Ends the run with this error: going on would only spend the messages' receive counts. */
  readonly fail: (error: TokenvaultError) => void
  readonly observe?: Observe | undefined
}

/**
 * Commits what the messages of a batch gave and decides the outcome of each message. Never throws.
 *
 * - The store is unavailable (or the outcome of its commit unknown): the same is stored again, with backoff, while the
 *   messages are hidden; the heartbeat keeps them so. Giving them back instead would raise their receive counts
 *   until an outage of minutes had moved the queue into its dead-letter queue. Receivers meanwhile find no room.
 * - Anything else is a fault in one message that takes its batch down. Halves find it; alone, it is released with a growing
 *   delay, and the redrive policy takes it to the dead-letter queue.
 * - Of a FIFO queue, what follows in the group of a message without effect gets the same outcome and is not stored: it must
 *   not overtake.
 * - The tokenizer says that its keys are wrong: no message is at fault, so the run ends.
 */
export async function storeBatch(
  messages: readonly ReceivedMessage[],
  context: BatchStoreContext,
): Promise<BatchStored> {
  const { log } = context
  const counts = { rows: 0, quarantined: 0, duplicates: 0 }
  const outcomes = new Map<string, Outcome>()
  const reasons = new Map<string, number>()
  const unstorable: ReceivedMessage[] = []
  const heldBack: ReceivedMessage[] = []
  const heldGroups = new Map<string, Outcome>()
  let firstFault: unknown

  const decide = (part: readonly ReceivedMessage[], outcome: Outcome) => {
    for (const { messageId, groupId } of part) {
      outcomes.set(messageId, outcome)
      if (groupId !== undefined && outcome.kind !== 'delete') heldGroups.set(groupId, outcome)
    }
  }
  const mayGoOn = (message: ReceivedMessage) => {
    const held = message.groupId === undefined ? undefined : heldGroups.get(message.groupId)
    if (held === undefined) return true
    outcomes.set(message.messageId, held)
    heldBack.push(message)
    return false
  }
  const storePart = async (all: readonly ReceivedMessage[]): Promise<void> => {
    const part = heldGroups.size === 0 ? all : all.filter(mayGoOn)
    if (part.length === 0) return
    try {
      const tokenized = handle(part, context)
      const stored = tokenized && (await storePatiently(tokenized, part, context))
      if (tokenized === undefined || stored === undefined) {
        // Stopping: others may have them at once. Otherwise their time is over, and they are no longer ours to give.
        return decide(part, context.stop.aborted ? { kind: 'retry', delaySeconds: 0 } : { kind: 'leave' })
      }
      counts.rows += stored.rows
      counts.quarantined += stored.quarantined
      // Of one message that was sent twice, both may stand here.
      counts.duplicates += stored.duplicates + part.length - tokenized.length
      decide(part, { kind: 'delete' })
      for (const { reason } of tokenized.flatMap(({ quarantined }) => quarantined)) {
        reasons.set(reason, (reasons.get(reason) ?? 0) + 1)
      }
    } catch (error) {
      const only = part[0]
      if (part.length > 1) {
        const half = Math.ceil(part.length / 2)
        await storePart(part.slice(0, half))
        await storePart(part.slice(half))
      } else if (only !== undefined) {
        firstFault ??= error
        unstorable.push(only)
        decide(part, { kind: 'retry', delaySeconds: releaseDelaySeconds(only.receiveCount) })
      }
    }
  }

  // Splitting must not tear two deliveries of one message apart.
  const distinct = [...new Map(messages.map(message => [message.messageId, message])).values()]
  await storePart(distinct)
  if (unstorable.length > 0) log.error({ event: 'messages_unstorable', count: unstorable.length, err: firstFault })
  if (heldBack.length > 0) log.warn({ event: 'messages_held_back', count: heldBack.length })
  // The second delivery of a message within the batch changed nothing either.
  const isStored = ({ messageId }: ReceivedMessage) => outcomes.get(messageId)?.kind === 'delete'
  counts.duplicates += messages.filter(isStored).length - distinct.filter(isStored).length
  return { counts, outcomes, reasons, unstorable, heldBack }
}

function handle(
  messages: readonly ReceivedMessage[],
  { tokenizeMessages, fail, observe }: BatchStoreContext,
): TokenizedMessage[] | undefined {
  const startedAtMs = performance.now()
  try {
    const tokenized = tokenizeMessages(messages)
    observe?.({ kind: 'tokenized', seconds: (performance.now() - startedAtMs) / 1000 })
    return tokenized
  } catch (error) {
    if (!(error instanceof TokenvaultError)) throw error
    fail(error)
    return undefined
  }
}

/** @returns undefined when given up, with nothing committed or the outcome unknown */
async function storePatiently(
  tokenized: readonly TokenizedMessage[],
  messages: readonly ReceivedMessage[],
  { store, inFlight, log, stop, maxAttempts, fail, observe }: BatchStoreContext,
): Promise<StoredCounts | undefined> {
  for (let attempt = 1; ; attempt++) {
    const startedAtMs = performance.now()
    try {
      // After an unknown outcome a repeat may count its own rows as duplicates; the rows are there once either way.
      const counts = await store.storeMessages(tokenized)
      observe?.({ kind: 'committed', seconds: (performance.now() - startedAtMs) / 1000 })
      return counts
    } catch (error) {
      observe?.({ kind: 'store_failed', code: error instanceof TokenvaultError ? error.code : 'internal' })
      if (!(error instanceof TokenvaultError) || error.code !== 'store_unavailable') throw error
      const retryInMs = backoffMilliseconds(attempt)
      log.warn({ event: 'batch_not_stored', messages: messages.length, attempt, retryInMs, err: error })
      if (attempt >= maxAttempts) fail(error)
      // Once all are visible to others again there is nothing left to be patient for.
      if (stop.aborted || !inFlight.anyHidden(messages, performance.now())) return undefined
      await pause(retryInMs, stop)
    }
  }
}
