import { backoffMilliseconds, pause } from '../../concurrency/waiting.ts'
import { TokenvaultError } from '../../errors.ts'
import type { Log } from '../../log.ts'
import { createDrainWatch } from '../batch/drain.ts'
import { MessagesInFlight, startHeartbeat } from '../batch/in-flight.ts'
import { type BatchCounts, processBatch } from '../batch/process-batch.ts'
import { type Run, startRun } from '../batch/run.ts'
import type { TokenizeMessages } from '../batch/tokenize-messages.ts'
import { describeReceived, type Observe } from '../metrics/observe.ts'
import type { IngestStore, MessageQueue, ReceivedMessage } from '../ports.ts'
import type { Redriver, RedriveTotals } from '../redrive/quarantine.ts'
import { type Batcher, createBatcher } from './batcher.ts'

export interface WorkerOptions {
  readonly queue: MessageQueue
  readonly tokenizeMessages: TokenizeMessages
  readonly store: IngestStore
  readonly log: Log
  /** Receive calls in flight. */
  readonly receivers: number
  /** Messages a commit, at most. */
  readonly batchMessages: number
  /** Milliseconds a batch waits to fill. */
  readonly batchMilliseconds: number
  readonly visibilityTimeoutSeconds: number
  /** Called after each batch with the totals so far. */
  readonly onBatch?: ((totals: WorkerTotals) => void) | undefined
  /** Told everything that is worth counting. */
  readonly observe?: Observe | undefined
}

/** Counts of one run. `received` = deliveries; an array body gives several rows, so the others need not add up to it. */
export interface WorkerTotals {
  readonly received: number
  /** Rows committed to user_logins. */
  readonly stored: number
  /** Events, or unreadable messages, committed to the quarantine. */
  readonly quarantined: number
  /** Values of the rows that are null because they are placeholders. */
  readonly placeholders: number
  /** Deliveries that changed nothing, because their message had taken effect before. */
  readonly duplicates: number
  /** Deliveries given back to the queue without effect. */
  readonly released: number
  /** Of the deliveries without effect: those whose message the store refuses even alone. */
  readonly unstorable: number
  /** Of the deliveries without effect: those of a FIFO queue that wait for another one of their group. */
  readonly heldBack: number
  /** Messages that took effect and were not deleted: they come again and change nothing. */
  readonly undeleted: number
  readonly batches: number
}

export interface Worker {
  /**
   * Receives, stores and settles until the signal is aborted or, when draining, until the queue stays empty. An abort
   * ends the long polls at once, then stores and settles what is in flight.
   *
   * A worker that stays waits for a queue or a store that is away; a draining one gives up after some tries.
   *
   * @throws TokenvaultError `queue_unavailable`, `store_unavailable` (draining only), or the tokenizer's `keyset_incomplete`;
   *   what was in flight has been settled or given back by then
   */
  run(options: { readonly drain: boolean; readonly signal: AbortSignal }): Promise<WorkerTotals>
}

/** Batches being stored or settled at once: the queue and the database then work at the same time, and memory is bounded. */
const batchesInFlight = 4

/** Body characters at which a batch is full, whatever its number of messages. */
const batchCharacters = 1024 * 1024

/** A long poll of 20 s costs least; while draining, an empty queue should be noticed sooner. Never 0, which asks some servers only. */
const waitSeconds = 20
const drainWaitSeconds = 1

/** Tries in a row, about 10 s, before a draining worker gives up on a queue or a store. */
const drainAttempts = 8

/**
 * The worker: receivers fill a batcher, a few processors take batches from it, each stores one in one transaction and then
 * settles its messages. Deletes never hold up receives; backpressure comes from the batcher.
 */
export function createWorker(options: WorkerOptions): Worker {
  return { run: ({ drain, signal }) => runWorker(options, drain, signal) }
}

async function runWorker(options: WorkerOptions, drain: boolean, signal: AbortSignal): Promise<WorkerTotals> {
  const { queue, tokenizeMessages, store, log, visibilityTimeoutSeconds, observe } = options
  const run = startRun(drain ? drainAttempts : Number.POSITIVE_INFINITY, { signal })
  const totals: Counts<WorkerTotals> = { ...noTotals }
  const inFlight = new MessagesInFlight(visibilityTimeoutSeconds)
  const heartbeat = startHeartbeat({ queue, inFlight, visibilityTimeoutSeconds, log, observe })
  const drainWatch = drain ? createDrainWatch(queue, inFlight) : undefined
  const batcher = createBatcher({
    messages: options.batchMessages,
    characters: batchCharacters,
    milliseconds: options.batchMilliseconds,
    stop: run.stop,
  })
  const context = {
    storing: { tokenizeMessages, store, inFlight, run, log, observe },
    settling: { queue, inFlight, heartbeat, log, observe },
    drainWatch,
    telling: { log, observe },
  }
  const processors = Array.from({ length: batchesInFlight }, () =>
    runProcessor({ batcher, process: batch => processBatch(batch, context), totals, run, ...options }),
  )
  let drained = false
  const lookIfDrained = async () => {
    if (await drainWatch?.isDrained(totals.received)) drained = true
  }
  const receiver = {
    queue,
    log,
    run,
    // An abandoned long poll may still take messages at the server, which then stay hidden for a visibility timeout. Only
    // whoever cannot wait for the short polls of a drain accepts that.
    endPoll: drain ? signal : run.stop,
    visibilityTimeoutSeconds,
    waitSeconds: drain ? drainWaitSeconds : waitSeconds,
    room: () => batcher.room(),
    onMessages: (messages: readonly ReceivedMessage[]) => {
      totals.received += messages.length
      inFlight.add(messages)
      batcher.add(messages)
    },
    observe,
    isDone: () => drained,
  }
  // One receiver looks, so that two looks are always a long poll apart.
  const receivers = Array.from({ length: options.receivers }, (_, index) =>
    runReceiver({ ...receiver, onEmpty: index === 0 ? lookIfDrained : async () => {} }),
  )
  await Promise.all(receivers)
  batcher.close()
  await Promise.all(processors)
  heartbeat.stop()
  await heartbeat.quiet()
  run.end()
  return { ...totals }
}

interface ReceiverOptions {
  readonly queue: Pick<MessageQueue, 'receive'>
  readonly waitSeconds: number
  readonly visibilityTimeoutSeconds: number
  readonly log: Log
  /** Once it is stopped, no other receive starts; a failing queue ends it after its attempts. */
  readonly run: Run
  /** Ends the long poll under way. */
  readonly endPoll: AbortSignal
  /** Resolves when another receive may start. */
  readonly room: () => Promise<void>
  readonly onMessages: (messages: readonly ReceivedMessage[]) => void
  /** Called after an empty receive. */
  readonly onEmpty: () => Promise<void>
  readonly isDone: () => boolean
  readonly observe?: Observe | undefined
}

/** One long-polling loop: until stopped, done or failed. Never throws. */
async function runReceiver(options: ReceiverOptions): Promise<void> {
  const { queue, waitSeconds, visibilityTimeoutSeconds, log, run, observe } = options
  const { stop } = run
  let failures = 0
  for (;;) {
    await options.room()
    if (stop.aborted || options.isDone()) return
    try {
      const messages = await queue.receive({ waitSeconds, visibilityTimeoutSeconds, signal: options.endPoll })
      if (messages.length > 0) {
        observe?.(describeReceived(messages))
        options.onMessages(messages)
      } else if (!stop.aborted) {
        observe?.({ kind: 'received_none' })
        await options.onEmpty()
      }
      failures = 0
    } catch (err) {
      failures++
      const retryInMs = backoffMilliseconds(failures)
      log.warn({ event: 'receive_failed', attempt: failures, retryInMs, err })
      observe?.({ kind: 'queue_failed', operation: 'receive' })
      if (failures >= run.maxAttempts) {
        return run.fail(err instanceof TokenvaultError ? err : new TokenvaultError('internal', 'a receiver failed'))
      }
      await pause(retryInMs, stop)
    }
  }
}

/** The totals of a run that has done nothing. */
export const noTotals: WorkerTotals = {
  received: 0,
  stored: 0,
  quarantined: 0,
  placeholders: 0,
  duplicates: 0,
  released: 0,
  unstorable: 0,
  heldBack: 0,
  undeleted: 0,
  batches: 0,
}

type Counts<Totals> = { -readonly [Name in keyof Totals]: number }

/** Takes batches until there are none any more. Never throws. */
async function runProcessor(options: {
  readonly batcher: Pick<Batcher, 'next'>
  readonly process: (batch: readonly ReceivedMessage[]) => Promise<BatchCounts>
  readonly totals: Counts<WorkerTotals>
  readonly run: Pick<Run, 'fail'>
  readonly onBatch?: ((totals: WorkerTotals) => void) | undefined
  readonly log: Log
  readonly observe?: Observe | undefined
}): Promise<void> {
  const { batcher, totals, run, log, observe } = options
  for (let batch = await batcher.next(); batch !== undefined; batch = await batcher.next()) {
    try {
      const counts = await options.process(batch)
      totals.batches++
      for (const name of Object.keys(counts) as (keyof BatchCounts)[]) totals[name] += counts[name]
      options.onBatch?.({ ...totals })
    } catch (err) {
      // A fault of ours, not of a message: the run ends, and the messages come again.
      log.error({ event: 'batch_failed', messages: batch.length, err })
      observe?.({ kind: 'batch_failed' })
      run.fail(new TokenvaultError('internal', 'a batch failed unexpectedly'))
    }
  }
}

/** Counts of one run, its redrives included: their rows and their new entries are `stored` and `quarantined` as others are. */
export interface IngestTotals extends WorkerTotals {
  /** Entries that left the quarantine. */
  readonly redriven: number
  /** Entries that were tried again and are still not events. */
  readonly returned: number
}

/** A worker that also does the redrives that operators ask for: beside the queue, or after it when draining. */
export interface IngestWorker {
  /** @throws as Worker.run and, when draining, as Redriver.drain */
  run(options: Parameters<Worker['run']>[0]): Promise<IngestTotals>
}

export function workAndRedrive(worker: Worker, redriver: Redriver): IngestWorker {
  return {
    async run({ drain, signal }) {
      if (drain) {
        const totals = await worker.run({ drain, signal })
        return add(totals, await redriver.drain(signal))
      }
      const ended = new AbortController()
      const redriving = redriver.run(AbortSignal.any([signal, ended.signal]))
      try {
        const totals = await worker.run({ drain, signal })
        ended.abort()
        return add(totals, await redriving)
      } finally {
        ended.abort()
        await redriving
      }
    },
  }
}

function add(
  totals: WorkerTotals,
  { rows, quarantined, placeholders, redriven, returned }: RedriveTotals,
): IngestTotals {
  return {
    ...totals,
    stored: totals.stored + rows,
    quarantined: totals.quarantined + quarantined,
    placeholders: totals.placeholders + placeholders,
    redriven,
    returned,
  }
}
