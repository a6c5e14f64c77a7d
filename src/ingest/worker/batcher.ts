import type { ReceivedMessage } from '../ports.ts'

/** Where receivers put messages and from where batches are taken. */
export interface Batcher {
  /** Resolves when there is room for another receive, or when the worker stops. */
  room(): Promise<void>
  /** Adds what was received. Never refuses: a message in flight must get a batch. */
  add(messages: readonly ReceivedMessage[]): void
  /** The next batch once it is full, has waited long enough or the worker stops; undefined when closed and empty. */
  next(): Promise<readonly ReceivedMessage[] | undefined>
  /** Nothing will be added any more. */
  close(): void
}

/** A FIFO queue gives nothing more of a group while its messages wait here. */
const longestOrderedWaitMs = 20

/**
 * Collects messages into micro-batches. It holds at most one full batch plus what receives in flight bring, because
 * receivers ask for room before they receive: a message that waited here would only lose its visibility.
 *
 * @param options.messages messages a batch holds at most; up to nine more where they belong to a group in it
 * @param options.characters body characters at which a batch is full too, since one body may hold thousands of events
 * @param options.milliseconds how long a batch waits to fill
 * @param options.stop once aborted, batches no longer wait
 */
export function createBatcher(options: {
  readonly messages: number
  readonly characters: number
  readonly milliseconds: number
  readonly stop: AbortSignal
}): Batcher {
  const { stop } = options
  let buffer: ReceivedMessage[] = []
  let characters = 0
  let ripe = false
  let closed = false
  let timer: NodeJS.Timeout | undefined
  let change = Promise.withResolvers<void>()

  const notify = () => {
    change.resolve()
    change = Promise.withResolvers()
  }
  const isFull = () => buffer.length >= options.messages || characters >= options.characters
  const startWaiting = () => {
    ripe = false
    clearTimeout(timer)
    if (buffer.length === 0) return
    timer = setTimeout(
      () => {
        ripe = true
        notify()
      },
      longestWaitMilliseconds(buffer[0]!, options.milliseconds),
    )
  }
  const take = (): readonly ReceivedMessage[] => {
    const { batch, rest } = cut(buffer, options)
    buffer = rest
    for (const { body } of batch) characters -= body.length
    startWaiting()
    notify()
    return batch
  }

  stop.addEventListener('abort', notify, { once: true })
  return {
    async room() {
      while (isFull() && !stop.aborted) await change.promise
    },
    add(messages) {
      if (messages.length === 0) return
      const wasEmpty = buffer.length === 0
      for (const message of messages) {
        buffer.push(message)
        characters += message.body.length
      }
      if (wasEmpty) startWaiting()
      notify()
    },
    async next() {
      for (;;) {
        if (buffer.length > 0 && (isFull() || ripe || closed || stop.aborted)) return take()
        if (closed && buffer.length === 0) {
          stop.removeEventListener('abort', notify)
          return undefined
        }
        await change.promise
      }
    },
    close() {
      closed = true
      notify()
    },
  }
}

/** How long a batch waits to fill that begins with this message. */
function longestWaitMilliseconds({ groupId }: ReceivedMessage, usual: number): number {
  return groupId === undefined ? usual : Math.min(usual, longestOrderedWaitMs)
}

/** The first messages, as many as the limits allow and at least one, and whatever shares a group with one of them. */
function cut(
  buffer: readonly ReceivedMessage[],
  limits: { readonly messages: number; readonly characters: number },
): { batch: ReceivedMessage[]; rest: ReceivedMessage[] } {
  let count = 0
  for (let characters = 0; count < Math.min(buffer.length, limits.messages) && characters < limits.characters; count++)
    characters += buffer[count]!.body.length
  const batch = buffer.slice(0, count)
  const others = buffer.slice(count)
  // Batches are stored side by side, so what must keep its order stands in one. A FIFO queue gives no more of a group
  // before its messages in flight are settled: all of them came in one receive, and are nine more at most.
  const groups = new Set(batch.map(({ groupId }) => groupId))
  groups.delete(undefined)
  if (groups.size === 0) return { batch, rest: others }
  const { true: same = [], false: rest = [] } = Object.groupBy(others, ({ groupId }) => String(groups.has(groupId)))
  return { batch: [...batch, ...same], rest }
}
