import { TokenvaultError } from '../errors.ts'
import type { Log } from '../log.ts'
import type { OpenQuarantined } from '../vault/open-quarantined.ts'
import type { RedriveOutcome, RedriveRequest, RedriveStore } from '../vault/quarantine-ports.ts'
import type { Tokenizer } from '../vault/tokenizer.ts'
import { backoffMilliseconds, pause } from './backoff.ts'
import { handleBatch } from './handle-batch.ts'
import type { Observe } from './observe.ts'

export interface RedriverOptions {
  readonly store: RedriveStore
  readonly tokenizer: Tokenizer
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
  /** Entries that are still no event. */
  readonly returned: number
}

export interface Redriver {
  /** Does what is requested until nothing is, or until aborted. @throws `store_unavailable`, `internal` */
  drain(signal: AbortSignal): Promise<RedriveTotals>
  /** As drain, for ever: waits for requests, and for a store that is away. Never throws. */
  run(signal: AbortSignal): Promise<void>
}

/** Entries a transaction, at most. */
const maxEntries = 200

/** Redrives what operators asked for: opens each body and takes it the way that a message takes. */
export function createRedriver(options: RedriverOptions): Redriver {
  const { store, log, observe, idleMilliseconds } = options

  async function drain(signal: AbortSignal): Promise<RedriveTotals> {
    const totals = { redriven: 0, rows: 0, returned: 0 }
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
        if (outcomes.length === 0) return totals
        most = maxEntries
        count(outcomes, totals, options)
      } catch (error) {
        if (!(error instanceof TokenvaultError) || error.code !== 'store_refused') throw error
        observe?.({ kind: 'store_failed', code: error.code })
        log.error({ event: 'redrive_refused', count: taken.length, err: error })
        if (taken.length === 1) refused.add(taken[0]!.id)
        most = Math.max(1, Math.floor(taken.length / 2))
      }
    }
    return totals
  }

  async function run(signal: AbortSignal): Promise<void> {
    for (let failures = 0; !signal.aborted; ) {
      try {
        await drain(signal)
        failures = 0
        await pause(idleMilliseconds * (0.75 + Math.random() / 2), signal)
      } catch (err) {
        failures++
        const retryInMs = backoffMilliseconds(failures)
        observe?.({ kind: 'store_failed', code: err instanceof TokenvaultError ? err.code : 'internal' })
        log.warn({ event: 'redrive_failed', attempt: failures, retryInMs, err })
        await pause(retryInMs, signal)
      }
    }
  }

  return { drain, run }
}

function decide(
  entries: readonly RedriveRequest[],
  refused: ReadonlySet<string>,
  { tokenizer, openQuarantined }: RedriverOptions,
): RedriveOutcome[] {
  const bodies = openQuarantined(entries)
  const readable = entries.flatMap((entry, index) => {
    const body = refused.has(entry.id) ? undefined : bodies[index]
    // Several entries may come from one message; each is handled by itself, under its own id.
    return body === undefined ? [] : [{ messageId: entry.id, body, sentAtMs: Date.parse(entry.sentOn) }]
  })
  const effects = new Map(handleBatch(readable, tokenizer).map(effect => [effect.messageId, effect]))
  return entries.map(({ id, messageId, sentOn }): RedriveOutcome => {
    const effect = effects.get(id)
    if (effect === undefined) return { id, reason: refused.has(id) ? 'row_invalid' : 'seal_invalid' }
    const [rejected, ...others] = effect.quarantined
    // Nothing of it is an event: it stays what it is, and keeps its seal.
    if (effect.rows.length === 0 && rejected !== undefined && others.length === 0)
      return { id, reason: rejected.reason }
    return { id, effect: { ...effect, messageId, sentOn } }
  })
}

function count(
  outcomes: readonly RedriveOutcome[],
  totals: { redriven: number; rows: number; returned: number },
  { log, observe }: RedriverOptions,
): void {
  const effects = outcomes.flatMap(outcome => ('effect' in outcome ? [outcome.effect] : []))
  const { length: entries } = effects
  const rows = effects.reduce((sum, effect) => sum + effect.rows.length, 0)
  const returned = outcomes.length - entries
  totals.redriven += entries
  totals.rows += rows
  totals.returned += returned
  observe?.({ kind: 'redriven', entries, rows, returned })
  log.info({ event: 'redriven', count: entries, rows, quarantined: returned })
}
