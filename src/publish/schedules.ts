import { backoff, pause, repeat, type Wait } from '../concurrency/waiting.ts'
import { TokenvaultError } from '../errors.ts'
import type { Log } from '../log.ts'
import type { RefusalCounts } from '../vault/admission/ports.ts'
import type { MakeCheckpoint } from '../vault/evidence/make-checkpoint.ts'
import type { AuditSearch } from '../vault/evidence/ports.ts'
import type { KeyRecoveryStore } from '../vault/keys/ports.ts'
import type { RecoveryPlace } from './recovery-file.ts'

/** First pause after a failure; each further one doubles it, up to the interval. */
const firstRetryMilliseconds = 1_000
/** Longest that stopping waits for the last checkpoint: less than what is granted to a process that is to end. */
const stopMilliseconds = 10_000

export interface CheckpointSchedule {
  /** Makes one last checkpoint, and none after it. Never throws. */
  stop(): Promise<void>
}

/**
 * Makes a checkpoint now and after each interval, whatever becomes of the one before. A failure is logged when it
 * begins, when it turns into a different failure and when it ends; in between the step is only tried again.
 *
 * @param options.wait how time passes
 */
export function startCheckpoints(options: {
  readonly makeCheckpoint: MakeCheckpoint
  readonly intervalMilliseconds: number
  readonly log: Log
  readonly wait?: Wait
}): CheckpointSchedule {
  const { makeCheckpoint, intervalMilliseconds, log, wait } = options
  const stopping = new AbortController()
  const failures = new FailureNotice({
    // Sizes grow while the failure stays the same.
    stateOf: ({ code, message }) => `${code} ${message.replaceAll(/\d+/g, '')}`,
    onFailure(err) {
      // A sink that is away will be back. Evidence that does not fit itself is somebody's doing.
      const isAlarm = !(err instanceof TokenvaultError) || err.code === 'audit_invalid'
      log[isAlarm ? 'error' : 'warn']({ event: 'checkpoint_failed', err })
    },
    onRecovery: attempt => log.info({ event: 'checkpoints_recovered', attempt }),
  })
  const attempt = async () => {
    try {
      await makeCheckpoint()
      failures.over()
    } catch (error) {
      failures.failed(error)
    }
    if (failures.inARow === 0) return intervalMilliseconds
    return backoff(failures.inARow, { first: firstRetryMilliseconds, longest: intervalMilliseconds, jitter: 0 })
  }
  const running = repeat(attempt, stopping.signal, { ref: false, wait }).then(attempt)

  return {
    async stop() {
      stopping.abort()
      const limit = new AbortController()
      await Promise.race([running, pause(stopMilliseconds, limit.signal, { ref: false })])
      limit.abort()
    },
  }
}

/**
 * Brings the search index up to date now and after each interval, so that a search has a minute's events to index and not
 * those of a year. It holds nobody up: a backlog takes as long as it takes. A failure is logged when it begins, when it
 * turns into a different failure and when it ends.
 *
 * @returns what stops it, between two steps: no checkpoint waits for the step under way, and closing the database does, until
 *   that statement's time is over at most
 */
export function followLog(options: {
  readonly search: Pick<AuditSearch, 'indexEvents'>
  readonly intervalMilliseconds: number
  readonly log: Log
}): () => void {
  const { search, ...schedule } = options
  const work = (signal: AbortSignal) => search.indexEvents(signal)
  return repeatWork({ ...schedule, work, failed: 'search_index_failed', recovered: 'search_index_recovered' })
}

/**
 * Makes events of counted refusals, now and after each interval, as followLog does its work.
 *
 * @returns what stops it; what is counted by then may be folded once more
 */
export function foldRefusals(options: {
  readonly refusals: RefusalCounts
  readonly intervalMilliseconds: number
  readonly log: Log
}): () => void {
  const { refusals, ...schedule } = options
  const work = () => refusals.fold()
  return repeatWork({ ...schedule, work, failed: 'refusals_not_folded', recovered: 'refusals_recovered' })
}

/**
 * Keeps the recovery of the keys beside the checkpoints as it is in the database: now and after each interval, where it changed.
 * What is published stays as it is while the log is not the one whose checkpoints are published: a backup that was restored
 * holds keys that were destroyed since.
 *
 * @param options.isLogHeld whether the last checkpoint could be made
 */
export function publishRecoveries(options: {
  readonly store: Pick<KeyRecoveryStore, 'readRecovery'>
  readonly place: RecoveryPlace
  readonly isLogHeld: () => boolean
  readonly intervalMilliseconds: number
  readonly log: Log
}): () => void {
  const { store, place, isLogHeld, ...schedule } = options
  /** What stands there; '' for nothing, and undefined while nobody knows. */
  let published: string | undefined
  const work = async () => {
    if (!isLogHeld()) return
    const sealed = (await store.readRecovery())?.sealed ?? ''
    if (sealed === published) return
    await (sealed === '' ? place.removeRecovery() : place.writeRecovery(sealed))
    published = sealed
  }
  return repeatWork({ ...schedule, work, failed: 'recovery_not_published', recovered: 'recovery_published' })
}

/**
 * Publishes entries of the erasure ledger that are not published yet: now and after each interval.
 *
 * @returns what stops it
 */
export function publishErasureLedger(options: {
  readonly publish: () => Promise<void>
  readonly intervalMilliseconds: number
  readonly log: Log
}): () => void {
  const { publish: work, ...schedule } = options
  return repeatWork({ ...schedule, work, failed: 'erasures_not_published', recovered: 'erasures_published' })
}

/** Repeats work that nobody waits for, and tells of failures by the two event names. Stops between two steps. */
function repeatWork(options: {
  readonly work: (signal: AbortSignal) => Promise<void>
  readonly intervalMilliseconds: number
  readonly log: Log
  readonly failed: string
  readonly recovered: string
}): () => void {
  const { work, intervalMilliseconds, log, failed, recovered } = options
  const stopping = new AbortController()
  const { signal } = stopping
  const failures = new FailureNotice({
    stateOf: ({ code, message }) => `${code} ${message}`,
    onFailure: err => log[err instanceof TokenvaultError ? 'warn' : 'error']({ event: failed, err }),
    onRecovery: () => log.info({ event: recovered }),
  })
  const step = async () => {
    try {
      await work(signal)
      if (!signal.aborted) failures.over()
    } catch (error) {
      // The database may be closed as soon as this is stopped.
      if (!signal.aborted) failures.failed(error)
    }
    return intervalMilliseconds
  }
  void repeat(step, signal, { ref: false })
  return () => stopping.abort()
}

interface Notices {
  /** What makes two failures the same one. */
  readonly stateOf: (error: TokenvaultError) => string
  readonly onFailure: (error: unknown) => void
  /** @param failures how many there were in a row */
  readonly onRecovery: (failures: number) => void
}

/** Reports a failure when it begins, when it turns into a different failure and when it ends. */
class FailureNotice {
  readonly #notices: Notices
  #state: string | undefined
  inARow = 0

  constructor(notices: Notices) {
    this.#notices = notices
  }

  failed(error: unknown): void {
    this.inARow++
    const state = error instanceof TokenvaultError ? this.#notices.stateOf(error) : 'unexpected'
    if (state !== this.#state) this.#notices.onFailure(error)
    this.#state = state
  }

  over(): void {
    if (this.#state !== undefined) this.#notices.onRecovery(this.inARow)
    this.#state = undefined
    this.inARow = 0
  }
}
