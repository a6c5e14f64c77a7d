import { repeat } from '../../concurrency/waiting.ts'
import type { ErrorCode } from '../../errors.ts'
import type { Log } from '../../log.ts'
import type { MessageQueue, ReceivedMessage } from '../ports.ts'
import type { Tally } from './tally.ts'

/** What a worker reports while it works: counts, codes and durations, and nothing from a message. */
export type IngestEvent =
  /** A receive found messages, or Lambda handed some over. */
  | { readonly kind: 'received'; readonly messages: number; readonly oldestSentAtMs: number }
  /** A long poll ended without any. */
  | { readonly kind: 'received_none' }
  /** A call to the queue failed; what it was for is tried again, or comes again by itself. */
  | { readonly kind: 'queue_failed'; readonly operation: QueueOperation }
  /** Messages were parsed, tokenized and sealed. */
  | { readonly kind: 'tokenized'; readonly seconds: number }
  /** What messages gave was committed; `seconds` from asking to the answer, without the tries that failed before. */
  | { readonly kind: 'committed'; readonly seconds: number }
  /** The store did not commit; it is tried again or given up. */
  | { readonly kind: 'store_failed'; readonly code: ErrorCode }
  /** A batch is stored and settled. */
  | (Tally & {
      readonly kind: 'batch'
      readonly messages: number
      readonly duplicates: number
      readonly released: number
      readonly undeleted: number
      /** Messages that the store refuses even alone. */
      readonly unstorable: number
      readonly seconds: number
    })
  /** A fault of ours ended a batch, and the run with it; of a Lambda function, whatever failed an event as a whole. */
  | { readonly kind: 'batch_failed' }
  /** Quarantined entries were tried again as operators asked. The tally is of those that left: what is not an event in them has entries of its own now. */
  | (Tally & {
      readonly kind: 'redriven'
      /** Those that left the quarantine. */
      readonly entries: number
      /** Entries that are still not events, or cannot be stored. */
      readonly returned: number
      /** Of those: entries that the store refuses even alone. */
      readonly unstorable: number
    })
  /** A redrive changed nothing; it is tried again, with fewer entries or later, or the run ends. */
  | { readonly kind: 'redrive_failed'; readonly code: ErrorCode }
  | { readonly kind: 'depth'; readonly visible: number; readonly inFlight: number; readonly delayed: number }

/** What a worker asks of its queue. `extend` is the heartbeat, `settle` a delete or a release. */
export type QueueOperation = 'receive' | 'extend' | 'settle' | 'depth'

/** Takes what a worker tells. Called on the hot path: it must be quick, and must not throw. */
export type Observe = (event: IngestEvent) => void

/** What tells that messages arrived. @param messages one or more */
export function describeReceived(messages: readonly Pick<ReceivedMessage, 'sentAtMs'>[]): IngestEvent {
  const oldestSentAtMs = messages.reduce((oldest, { sentAtMs }) => Math.min(oldest, sentAtMs), Number.POSITIVE_INFINITY)
  return { kind: 'received', messages: messages.length, oldestSentAtMs }
}

const millisecondsBetweenLooks = 15_000

/** Asks the queue how much it holds, now and every 15 seconds, and tells it. @returns ends it */
export function startDepthWatch(options: {
  readonly queue: Pick<MessageQueue, 'depth'>
  readonly observe: Observe
  readonly log: Log
}): () => void {
  const { queue, observe, log } = options
  const stopping = new AbortController()
  const look = async () => {
    try {
      observe({ kind: 'depth', ...(await queue.depth()) })
    } catch (err) {
      log.warn({ event: 'depth_unknown', err })
      observe({ kind: 'queue_failed', operation: 'depth' })
    }
    return millisecondsBetweenLooks
  }
  void repeat(look, stopping.signal, { ref: false })
  return () => stopping.abort()
}
