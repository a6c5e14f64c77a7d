import { setTimeout as sleep } from 'node:timers/promises'
import { asIdentifier, identify } from './queue-error.ts'

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
        await sleep(50 * 2 ** attempt * (0.5 + Math.random()))
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
