import type { Test } from 'tap'
import { TokenvaultError } from '../../../src/errors.ts'
import { createWorker, type WorkerOptions, type WorkerTotals } from '../../../src/ingest/worker/worker.ts'
import type { SqsQueue } from '../../../src/queue/sqs-queue.ts'
import { freshVault } from './events.ts'
import { createMemoryStore, type MemoryStore } from './memory-store.ts'
import type { Intercept } from './proxy.ts'
import { startQueue } from './server.ts'

export const { tokenizeMessages } = freshVault()
/** What the store throws when its database is away. */
export const unavailable = () => new TokenvaultError('store_unavailable', 'as the test wants it')
/** A signal that is never aborted. */
export const running = () => new AbortController().signal

export interface Setup {
  readonly intercept?: Intercept
  readonly store?: MemoryStore
  readonly queue?: (queue: SqsQueue) => WorkerOptions['queue']
  readonly attributes?: Record<string, string>
  /** What a call may take beyond its wait. Only for calls that hang: under load an honest one is slow, too. */
  readonly callTimeoutMilliseconds?: number
  readonly options?: Partial<WorkerOptions>
}

/** A worker with the real tokenizer over a real queue, and a store that fails on demand. */
export async function buildWorker(t: Test, setup: Setup = {}) {
  const { intercept, store = createMemoryStore(), attributes = {}, callTimeoutMilliseconds } = setup
  let stopWhen: (totals: WorkerTotals) => boolean = () => false
  let abort = new AbortController()
  const server = await startQueue(t, {
    attributes,
    ...(callTimeoutMilliseconds && { callTimeoutMilliseconds }),
    ...(intercept && { intercept }),
  })
  const worker = createWorker({
    queue: setup.queue?.(server.queue) ?? server.queue,
    tokenizeMessages,
    store,
    log: server.log,
    receivers: 2,
    batchMessages: 100,
    batchMilliseconds: 20,
    visibilityTimeoutSeconds: 30,
    onBatch: totals => stopWhen(totals) && abort.abort(),
    ...setup.options,
  })
  const drain = () => worker.run({ drain: true, signal: running() })
  /** Runs a worker that stays, until a batch has made the condition true. */
  const runUntil = (condition: (totals: WorkerTotals) => boolean) => {
    stopWhen = condition
    abort = new AbortController()
    return worker.run({ drain: false, signal: abort.signal })
  }
  return { ...server, worker, store, drain, runUntil }
}
