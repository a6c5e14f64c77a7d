import { TokenvaultError } from '../errors.ts'
import type { ReceivedMessage } from '../ingest/ports.ts'
import { firstIdentityAttribute, isFifo, type OpenFirstIdentity, readMessage } from './message.ts'

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

/** @throws TokenvaultError `event_invalid`: anybody who may invoke the function may hand it anything */
export function readSqsEvent(event: SqsEvent, openFirstIdentity: OpenFirstIdentity): ReceivedMessage[] {
  const records: unknown = (event as Partial<SqsEvent> | null | undefined)?.Records
  if (!Array.isArray(records)) throw new TokenvaultError('event_invalid')
  const receivedAtMs = performance.now()
  return records.map((record: Partial<SqsRecord> | null | undefined) => {
    const { messageId, receiptHandle, body, attributes, messageAttributes, eventSourceARN } = record ?? {}
    if (typeof eventSourceARN !== 'string') throw new TokenvaultError('event_invalid')
    const mark = messageAttributes?.[firstIdentityAttribute]?.stringValue
    const message = readMessage(
      { messageId, receiptHandle, body, attributes, mark },
      { receivedAtMs, inOrder: isFifo(eventSourceARN), openFirstIdentity },
    )
    if (typeof message === 'string') throw new TokenvaultError('event_invalid')
    return message
  })
}

/** @param comeAgain ids of the messages that Lambda must not delete */
export function toBatchResponse(comeAgain: readonly string[]): SqsBatchResponse {
  return { batchItemFailures: comeAgain.map(itemIdentifier => ({ itemIdentifier })) }
}
