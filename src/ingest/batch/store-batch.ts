import { backoff, backoffMilliseconds, pause } from '../../concurrency/waiting.ts'
import { type ErrorCode, TokenvaultError } from '../../errors.ts'
import type { Log } from '../../log.ts'
import type { Observe } from '../metrics/observe.ts'
import { RunningTally, type Tally } from '../metrics/tally.ts'
import type { IngestStore, ReceivedMessage, Stored, TokenizedMessage } from '../ports.ts'
import type { MessagesInFlight } from './in-flight.ts'
import type { Run } from './run.ts'
import type { TokenizeMessages } from './tokenize-messages.ts'

/** Seconds for which a message that cannot be stored stays away; it doubles with each delivery. */
const releaseDelaySeconds = { first: 10, longest: 900 }

/** What becomes of a message once its batch is done; the only place where that is decided. */
export type Outcome =
  /** Its effect is committed. */
  | { readonly kind: 'delete' }
  /** It had no effect: someone may have it after the delay. */
  | { readonly kind: 'delay'; readonly delaySeconds: number }
  /** Nothing is known, or nothing can be done: its visibility timeout decides. */
  | { readonly kind: 'leave' }

export interface BatchStored {
  readonly tally: Tally
  /** Deliveries that changed nothing, because their message had taken effect before. */
  readonly duplicates: number
  /** One outcome a message id. */
  readonly outcomes: ReadonlyMap<string, Outcome>
  /** Messages that the store refuses even alone. */
  readonly unstorable: readonly ReceivedMessage[]
  /** Messages of a FIFO queue that wait for one of their group. */
  readonly heldBack: readonly ReceivedMessage[]
}

interface TokenizeContext {
  readonly tokenizeMessages: TokenizeMessages
  readonly run: Pick<Run, 'fail'>
  readonly observe?: Observe | undefined
}

interface CommitContext {
  readonly store: IngestStore
  readonly inFlight: Pick<MessagesInFlight, 'anyHidden'>
  readonly run: Pick<Run, 'stop' | 'maxAttempts' | 'patientUntilMs' | 'fail'>
  readonly log: Log
  readonly observe?: Observe | undefined
}

export type BatchStoreContext = TokenizeContext & CommitContext

/**
 * Commits what the messages of a batch gave and decides the outcome of each message. Never throws.
 *
 * - The store is unavailable or misconfigured (or the outcome of its commit unknown): they are tokenized and stored again, with backoff,
 *   while the messages are hidden; the heartbeat keeps them so. Giving them back instead would raise their receive counts
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
  const decisions = new Decisions()
  // Splitting must not tear two deliveries of one message apart.
  const distinct = [...new Map(messages.map(message => [message.messageId, message])).values()]
  await storePart(distinct, decisions, context)
  const { outcomes, unstorable, heldBack, firstFault } = decisions
  if (unstorable.length > 0) log.error({ event: 'messages_unstorable', count: unstorable.length, err: firstFault })
  if (heldBack.length > 0) log.warn({ event: 'messages_held_back', count: heldBack.length })
  // The second delivery of a message within the batch changed nothing either.
  const isStored = ({ messageId }: ReceivedMessage) => outcomes.get(messageId)?.kind === 'delete'
  decisions.duplicates += messages.filter(isStored).length - distinct.filter(isStored).length
  return decisions
}

async function storePart(
  all: readonly ReceivedMessage[],
  decisions: Decisions,
  context: BatchStoreContext,
): Promise<void> {
  const part = decisions.holdBack(all)
  const [first] = part
  if (first === undefined) return
  try {
    const tokenized = tokenize(part, context)
    const stored = tokenized && (await commit(tokenized, part, context))
    if (tokenized !== undefined && stored !== undefined) decisions.stored(part, tokenized, stored)
    // When stopping, others may have them at once. Otherwise their visibility timeout is over, and they are others' already.
    else decisions.decide(part, context.run.stop.aborted ? { kind: 'delay', delaySeconds: 0 } : { kind: 'leave' })
  } catch (error) {
    if (part.length === 1) return decisions.refused(first, error)
    const half = Math.ceil(part.length / 2)
    await storePart(part.slice(0, half), decisions, context)
    await storePart(part.slice(half), decisions, context)
  }
}

/** What is known of a batch so far. */
class Decisions implements BatchStored {
  readonly tally = new RunningTally()
  duplicates = 0
  readonly outcomes = new Map<string, Outcome>()
  readonly unstorable: ReceivedMessage[] = []
  readonly heldBack: ReceivedMessage[] = []
  firstFault: unknown
  readonly #heldGroups = new Map<string, Outcome>()

  decide(part: readonly ReceivedMessage[], outcome: Outcome): void {
    for (const { messageId, groupId } of part) {
      this.outcomes.set(messageId, outcome)
      if (groupId !== undefined && outcome.kind !== 'delete') this.#heldGroups.set(groupId, outcome)
    }
  }

  /** @returns those that overtake nobody; the others get the outcome of whom they wait for */
  holdBack(messages: readonly ReceivedMessage[]): readonly ReceivedMessage[] {
    if (this.#heldGroups.size === 0) return messages
    return messages.filter(message => {
      const held = message.groupId === undefined ? undefined : this.#heldGroups.get(message.groupId)
      if (held === undefined) return true
      this.outcomes.set(message.messageId, held)
      this.heldBack.push(message)
      return false
    })
  }

  stored(part: readonly ReceivedMessage[], tokenized: readonly TokenizedMessage[], { repeated }: Stored): void {
    // Of one message that was sent twice, both may stand here.
    this.duplicates += repeated.size + part.length - tokenized.length
    this.decide(part, { kind: 'delete' })
    for (const message of tokenized) if (!repeated.has(message.messageId)) this.tally.add(message)
  }

  /** The store refuses the message even alone. */
  refused(message: ReceivedMessage, error: unknown): void {
    this.firstFault ??= error
    this.unstorable.push(message)
    const delaySeconds = Math.ceil(backoff(message.receiveCount, releaseDelaySeconds))
    this.decide([message], { kind: 'delay', delaySeconds })
  }
}

/** @returns undefined where no message is at fault */
function tokenize(
  messages: readonly ReceivedMessage[],
  { tokenizeMessages, run, observe }: TokenizeContext,
): TokenizedMessage[] | undefined {
  const startedAtMs = performance.now()
  try {
    const tokenized = tokenizeMessages(messages)
    observe?.({ kind: 'tokenized', seconds: (performance.now() - startedAtMs) / 1000 })
    return tokenized
  } catch (error) {
    if (!(error instanceof TokenvaultError)) throw error
    run.fail(error)
    return undefined
  }
}

/** Failures of the store that no message causes, so that none may be spent on them. */
const noMessageToBlame: ReadonlySet<ErrorCode> = new Set(['store_unavailable', 'store_misconfigured'])

/** @returns undefined when given up, with nothing committed or the outcome unknown */
async function commit(
  first: readonly TokenizedMessage[],
  messages: readonly ReceivedMessage[],
  context: CommitContext & TokenizeContext,
): Promise<Stored | undefined> {
  const { store, inFlight, run, log, observe } = context
  for (let attempt = 1; ; attempt++) {
    // Keys may have changed while the store was away, or be why it refused: what is stored is made by those of now.
    const tokenized = attempt === 1 ? first : tokenize(messages, context)
    if (tokenized === undefined) return undefined
    const startedAtMs = performance.now()
    try {
      // After an unknown outcome a repeat may count its own rows as duplicates; the rows are there once either way.
      const stored = await store.storeMessages(tokenized)
      observe?.({ kind: 'committed', seconds: (performance.now() - startedAtMs) / 1000 })
      return stored
    } catch (error) {
      observe?.({ kind: 'store_failed', code: error instanceof TokenvaultError ? error.code : 'internal' })
      if (!(error instanceof TokenvaultError) || !noMessageToBlame.has(error.code)) throw error
      const retryInMs = backoffMilliseconds(attempt)
      log.warn({ event: 'batch_not_stored', messages: messages.length, attempt, retryInMs, err: error })
      // Who waits for a store that is away also waits for an operator; a run of few attempts need not make them.
      const isHopeless = error.code === 'store_misconfigured' && run.maxAttempts !== Number.POSITIVE_INFINITY
      const isPatient = performance.now() + retryInMs < (run.patientUntilMs ?? 0)
      if (isHopeless || (attempt >= run.maxAttempts && !isPatient)) run.fail(error)
      // Once all are visible to others again there is nothing left to be patient for.
      if (run.stop.aborted || !inFlight.anyHidden(messages, performance.now())) return undefined
      await pause(retryInMs, run.stop)
    }
  }
}
