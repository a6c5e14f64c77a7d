import { ChangeMessageVisibilityBatchCommand, DeleteMessageBatchCommand, type SQSClient } from '@aws-sdk/client-sqs'
import { backoffMilliseconds, pause } from '../concurrency/waiting.ts'
import { asIdentifier, identify } from './sqs-client.ts'

/** What every SQS batch action answers; `Id` is the entry's place in the chunk. */
export interface ChunkReply {
  readonly Successful?: readonly { readonly Id?: string | undefined }[] | undefined
  readonly Failed?:
    | readonly {
        readonly Id?: string | undefined
        readonly Code?: string | undefined
        readonly SenderFault?: boolean | undefined
      }[]
    | undefined
}

/** An entry that was not done after all attempts. */
export interface NotDone<E> {
  readonly entry: E
  /** SQS or Node error code, an identifier. */
  readonly code: string
  /** The queue answered that repeating this entry is of no use. */
  readonly senderFault: boolean
}

/** Chunks of one call in flight at once. */
const lanes = 4

/** Times that an entry is tried. A call that throws was tried three times by the SDK already. */
const attempts = 4

/**
 * Runs one SQS batch action over chunks, several at a time. A batch action answers 200 with `Failed[]`, so each entry has
 * a fate of its own: what failed is sent again, alone, with jittered backoff. An entry that the reply does not list as
 * successful counts as failed.
 *
 * @param options.repeatSenderFaults also repeat what the queue blames on us
 * @param options.inOrder one chunk after the other, none after one with an entry that was not done
 * @returns the entries that were not done; never throws
 */
export async function callInChunks<E>(
  chunks: readonly (readonly E[])[],
  call: (entries: readonly E[]) => Promise<ChunkReply>,
  { repeatSenderFaults = false, inOrder = false } = {},
): Promise<NotDone<E>[]> {
  const notDone: NotDone<E>[] = []
  const waiting = chunks.values()
  // When every lane has just failed, the queue is away: the rest would only wait for the same timeouts in turn.
  let thrownInARow = 0
  const laneCount = inOrder ? 1 : Math.min(lanes, chunks.length)
  let lastCode = ''
  const lane = async () => {
    for (const entries of waiting) {
      if (inOrder ? notDone.length > 0 : thrownInARow >= lanes) {
        notDone.push(...entries.map(entry => ({ entry, code: lastCode, senderFault: false })))
        continue
      }
      let left = entries
      for (let attempt = 1; left.length > 0; attempt++) {
        let reply: ChunkReply
        try {
          reply = await call(left)
          thrownInARow = 0
        } catch (error) {
          thrownInARow++
          lastCode = identify(error)
          notDone.push(...left.map(entry => ({ entry, code: lastCode, senderFault: false })))
          break
        }
        const failed = readFailed(left, reply)
        const isFinal = ({ senderFault }: NotDone<E>) => attempt === attempts || (senderFault && !repeatSenderFaults)
        const final = failed.filter(isFinal)
        notDone.push(...final)
        lastCode = final[0]?.code ?? lastCode
        left = failed.filter(failure => !isFinal(failure)).map(({ entry }) => entry)
        if (left.length === 0) break
        await pause(backoffMilliseconds(attempt))
      }
    }
  }
  await Promise.all(Array.from({ length: laneCount }, lane))
  return notDone
}

function readFailed<E>(entries: readonly E[], reply: ChunkReply): NotDone<E>[] {
  const successful = new Set(reply.Successful?.map(({ Id }) => Id))
  const failures = new Map(reply.Failed?.map(failure => [failure.Id, failure]))
  return entries.flatMap((entry, index) => {
    if (successful.has(String(index))) return []
    const failure = failures.get(String(index))
    return [{ entry, code: asIdentifier(failure?.Code) ?? 'UnknownError', senderFault: failure?.SenderFault === true }]
  })
}

/** The most entries that one SQS batch call takes. */
const maxEntries = 10

/**
 * Splits entries into SQS batches, in order: at most 10 entries and, where a size is given, at most `maxBytes`. An entry
 * larger than that stands alone, so that the queue decides about it.
 *
 * @param sizeOf bytes of an entry
 * @param mayJoin whether an entry may stand in one batch with those
 */
export function chunk<E>(
  entries: readonly E[],
  sizeOf: (entry: E) => number = () => 0,
  maxBytes = Number.POSITIVE_INFINITY,
  mayJoin: (current: readonly E[], entry: E) => boolean = () => true,
): E[][] {
  const chunks: E[][] = []
  let current: E[] = []
  let bytes = 0
  for (const entry of entries) {
    const size = sizeOf(entry)
    const fits = current.length < maxEntries && bytes + size <= maxBytes && mayJoin(current, entry)
    if (current.length > 0 && !fits) {
      chunks.push(current)
      current = []
      bytes = 0
    }
    current.push(entry)
    bytes += size
  }
  if (current.length > 0) chunks.push(current)
  return chunks
}

/** Something that was received, by its receipt handle. */
export interface Received {
  readonly receiptHandle: string
}

/** Repeating it is safe. @returns what was not deleted; never throws */
export function deleteInChunks<E extends Received>(
  client: SQSClient,
  queueUrl: string,
  messages: readonly E[],
): Promise<NotDone<E>[]> {
  return callInChunks(
    chunk(messages),
    entries =>
      client.send(
        new DeleteMessageBatchCommand({
          QueueUrl: queueUrl,
          Entries: entries.map(({ receiptHandle }, index) => ({ Id: String(index), ReceiptHandle: receiptHandle })),
        }),
      ),
    // A delete too many does no harm, and not every server is careful about whose fault it was.
    { repeatSenderFaults: true },
  )
}

/** Hides messages for so many seconds from now on; 0 makes them visible at once. @returns what was not done; never throws */
export function hideInChunks<E extends Received>(
  client: SQSClient,
  queueUrl: string,
  messages: readonly E[],
  seconds: number,
): Promise<NotDone<E>[]> {
  return callInChunks(chunk(messages), entries =>
    client.send(
      new ChangeMessageVisibilityBatchCommand({
        QueueUrl: queueUrl,
        Entries: entries.map(({ receiptHandle }, index) => ({
          Id: String(index),
          ReceiptHandle: receiptHandle,
          VisibilityTimeout: seconds,
        })),
      }),
    ),
  )
}
