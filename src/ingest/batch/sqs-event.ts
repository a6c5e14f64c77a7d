import { TokenvaultError } from '../../errors.ts'
import type { Log } from '../../log.ts'
import type { Observe } from '../metrics/observe.ts'
import type { FirstIdentity, IngestStore, ReceivedMessage } from '../ports.ts'
import { tellBatch } from '../tell-batch.ts'
import { MessagesInFlight } from './in-flight.ts'
import { storeBatch } from './store-batch.ts'
import type { TokenizeMessages } from './tokenize-messages.ts'

/** What AWS Lambda hands to a function that an SQS event source mapping invokes; what we do not read is left out. */
export interface SqsEvent {
  readonly Records: readonly SqsRecord[]
}

export interface SqsRecord {
  readonly messageId: string
  readonly receiptHandle: string
  readonly body: string
  readonly attributes: {
    /** Milliseconds since 1970, in digits. */
    readonly SentTimestamp: string
    readonly ApproximateReceiveCount: string
    readonly MessageGroupId?: string
  }
  readonly messageAttributes?: Readonly<Record<string, { readonly stringValue?: string | undefined } | undefined>>
  readonly eventSourceARN: string
}

/**
 * Names the messages that come again; Lambda deletes all others. The mapping must ask for it
 * (`FunctionResponseTypes: ReportBatchItemFailures`).
 *
 * @see https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
 */
export interface SqsBatchResponse {
  readonly batchItemFailures: readonly { readonly itemIdentifier: string }[]
}

export interface SqsEventIngest {
  readonly tokenizeMessages: TokenizeMessages
  readonly store: IngestStore
  readonly log: Log
  /** The identity under which a message was sent first, where it carries a genuine mark of that. */
  readonly openFirstIdentity: (record: SqsRecord) => FirstIdentity | undefined
  readonly observe: Observe
}

/** Tries before an unavailable store is given up: about a second of waiting, and what each try takes. */
const storeAttempts = 4

/**
 * Lambda hides the messages while the function runs (its visibility timeout must be longer than the function's), and
 * tells us nothing of when that ends. As far as we are concerned, it does not.
 */
const hiddenSeconds = 12 * 3600

/**
 * Stores the messages of one event as the worker stores a batch: tokens, originals and delivery records in one transaction, what is no
 * event into quarantine, and each message once however often Lambda delivers it.
 *
 * @returns the messages that have no effect: those that the store refuses even alone and, of a FIFO queue, those behind them in
 *   their group
 * @throws TokenvaultError `event_invalid`, `store_unavailable`, or what the tokenizer throws. Lambda then deletes none of the
 *   messages; those that took effect all the same come again and change nothing. It also counts an error and
 *   asks less often, which is right while a store is away.
 */
export async function ingestSqsEvent(event: SqsEvent, deps: SqsEventIngest): Promise<SqsBatchResponse> {
  const messages = readRecords(event, deps.openFirstIdentity)
  const startedAtMs = performance.now()
  const stopping = new AbortController()
  let failure: TokenvaultError | undefined
  const fail = (error: TokenvaultError) => {
    failure ??= error
    stopping.abort()
  }
  const inFlight = new MessagesInFlight(hiddenSeconds)
  inFlight.add(messages)
  const { tokenizeMessages, store, log, observe } = deps
  const context = {
    tokenizeMessages,
    store,
    log,
    observe,
    inFlight,
    stop: stopping.signal,
    maxAttempts: storeAttempts,
    fail,
  }
  const stored = await storeBatch(messages, context)
  const failed = [...stored.outcomes].filter(([, { kind }]) => kind !== 'delete')
  // Lambda deletes, and says nothing of it.
  tellBatch(stored, { messages: messages.length, startedAtMs, released: failed.length, undeleted: 0 }, deps)
  if (failure !== undefined) throw failure
  return { batchItemFailures: failed.map(([messageId]) => ({ itemIdentifier: messageId })) }
}

function readRecords(event: SqsEvent, openFirstIdentity: SqsEventIngest['openFirstIdentity']): ReceivedMessage[] {
  // Anybody who may invoke the function may hand it anything.
  const records: unknown = (event as Partial<SqsEvent> | null | undefined)?.Records
  if (!Array.isArray(records)) throw new TokenvaultError('event_invalid')
  const receivedAtMs = performance.now()
  return records.map((record: SqsRecord) => {
    const { messageId, receiptHandle, body, attributes, eventSourceARN } = record ?? {}
    const sentAtMs = Number(attributes?.SentTimestamp)
    // The day of a message decides where its delivery record stands, so a guess will not do; see queue/receive.ts.
    const hasTexts = [messageId, body, eventSourceARN].every(text => typeof text === 'string')
    if (!hasTexts || !Number.isSafeInteger(sentAtMs) || sentAtMs <= 0 || sentAtMs > 8.64e15) {
      throw new TokenvaultError('event_invalid')
    }
    return {
      messageId,
      receiptHandle,
      body,
      sentAtMs,
      receiveCount: Number(attributes.ApproximateReceiveCount) || 1,
      receivedAtMs,
      // On a standard queue a group says something about fairness and nothing about order.
      groupId: eventSourceARN.endsWith('.fifo') ? attributes.MessageGroupId : undefined,
      firstIdentity: openFirstIdentity(record),
    }
  })
}
