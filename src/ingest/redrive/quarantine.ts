import { backoffMilliseconds, repeat } from '../../concurrency/waiting.ts'
import { type ErrorCode, TokenvaultError } from '../../errors.ts'
import type { Log } from '../../log.ts'
import type { OpenQuarantined } from '../../vault/quarantine/sealed-bodies.ts'
import type { TokenizeMessages } from '../batch/tokenize-messages.ts'
import type { Observe } from '../metrics/observe.ts'
import { logTally, RunningTally, sumOf } from '../metrics/tally.ts'
import type { RedriveOutcome, RedriveRequest, RedriveStore } from '../ports.ts'

export interface RedriverOptions {
  readonly store: RedriveStore
  readonly tokenizeMessages: TokenizeMessages
  readonly openQuarantined: OpenQuarantined
  readonly log: Log
  readonly observe?: Observe | undefined
  /** Milliseconds between two looks while nothing is requested. */
  readonly idleMilliseconds: number
}

export interface RedriveTotals {
  /** Entries that left the quarantine. */
  readonly redriven: number
  /** Rows that they gave. */
  readonly rows: number
  /** Entries of their own for what is not an event in those that left. */
  readonly quarantined: number
  /** Values of the rows that are null because they are placeholders. */
  readonly placeholders: number
  /** Entries that are still not events. */
  readonly returned: number
}

export interface Redriver {
  /** Does what is requested until nothing is, or until aborted. @throws `store_unavailable`, `internal` */
  drain(signal: AbortSignal): Promise<RedriveTotals>
  /** As drain, until aborted: waits for requests, and for a store that is away. Never throws. */
  run(signal: AbortSignal): Promise<RedriveTotals>
}

/** The reason of an entry that the store refuses even alone. */
const unstorable = 'row_invalid'

/** Failures of the store that an entry causes, whatever others are with it. */
const blamesAnEntry: ReadonlySet<ErrorCode> = new Set(['store_refused', 'token_collision'])

/** Entries a transaction, at most. */
const maxEntries = 200

/** Redrives what operators asked for: opens each body and takes it the way that a message takes. */
export function createRedriver(options: RedriverOptions): Redriver {
  const { store, log, observe, idleMilliseconds } = options
  const failed = (err: unknown) =>
    observe?.({ kind: 'redrive_failed', code: err instanceof TokenvaultError ? err.code : 'internal' })

  async function drainInto(totals: Counts, signal: AbortSignal): Promise<void> {
    // Entries that the store refuses by themselves: they would stand in the way of all others for ever.
    const refused = new Set<string>()
    let most = maxEntries
    while (!signal.aborted) {
      let taken: readonly RedriveRequest[] = []
      try {
        const outcomes = await store.redrive(most, entries => {
          taken = entries
          return decide(entries, refused, options)
        })
        if (outcomes.length === 0) return
        most = maxEntries
        count(outcomes, totals, options)
      } catch (error) {
        failed(error)
        if (!(error instanceof TokenvaultError) || !blamesAnEntry.has(error.code)) throw error
        log.error({ event: 'redrive_refused', count: taken.length, err: error })
        if (taken.length === 1) refused.add(taken[0]!.id)
        most = Math.max(1, Math.floor(taken.length / 2))
      }
    }
  }

  async function drain(signal: AbortSignal): Promise<RedriveTotals> {
    const totals = nothing()
    try {
      await drainInto(totals, signal)
    } catch (err) {
      log.error({ event: 'redrive_failed', err })
      throw err
    }
    return totals
  }

  async function run(signal: AbortSignal): Promise<RedriveTotals> {
    const totals = nothing()
    let failures = 0
    const step = async () => {
      try {
        await drainInto(totals, signal)
        failures = 0
        return idleMilliseconds * (0.75 + Math.random() / 2)
      } catch (err) {
        failures++
        const retryInMs = backoffMilliseconds(failures)
        log.warn({ event: 'redrive_failed', attempt: failures, retryInMs, err })
        return retryInMs
      }
    }
    await repeat(step, signal)
    return totals
  }

  return { drain, run }
}

function decide(
  entries: readonly RedriveRequest[],
  refused: ReadonlySet<string>,
  { tokenizeMessages, openQuarantined }: RedriverOptions,
): RedriveOutcome[] {
  const bodies = openQuarantined(entries)
  const readable = entries.flatMap((entry, index) => {
    const body = refused.has(entry.id) ? undefined : bodies[index]
    // Several entries may come from one message; each is handled by itself, under its own id.
    return body === undefined ? [] : [{ messageId: entry.id, body, sentAtMs: Date.parse(entry.sentOn) }]
  })
  const messages = new Map(tokenizeMessages(readable).map(message => [message.messageId, message]))
  return entries.map(({ id, messageId, sentOn }): RedriveOutcome => {
    const message = messages.get(id)
    if (message === undefined) return { id, reason: refused.has(id) ? unstorable : 'seal_invalid' }
    const [rejected, ...others] = message.quarantined
    // None of it is an event: it stays what it is, and keeps its seal.
    if (message.rows.length === 0 && rejected !== undefined && others.length === 0)
      return { id, reason: rejected.reason }
    return { id, message: { ...message, messageId, sentOn } }
  })
}

type Counts = { -readonly [Name in keyof RedriveTotals]: number }

function nothing(): Counts {
  return { redriven: 0, rows: 0, quarantined: 0, placeholders: 0, returned: 0 }
}

function count(outcomes: readonly RedriveOutcome[], totals: Counts, { log, observe }: RedriverOptions): void {
  const messages = outcomes.flatMap(outcome => ('message' in outcome ? [outcome.message] : []))
  const { length: entries } = messages
  const returned = outcomes.length - entries
  const tally = new RunningTally()
  for (const message of messages) tally.add(message)
  const { rows, reasons, placeholders } = tally
  totals.redriven += entries
  totals.rows += rows
  totals.quarantined += sumOf(reasons)
  totals.placeholders += sumOf(placeholders)
  totals.returned += returned
  const refused = outcomes.filter(outcome => 'reason' in outcome && outcome.reason === unstorable).length
  observe?.({ kind: 'redriven', entries, rows, returned, unstorable: refused, reasons, placeholders })
  log.info({ event: 'redriven', count: entries, rows, quarantined: returned })
  logTally(tally, log)
}
