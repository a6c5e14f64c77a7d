/**
 * Visits what two streams give side by side, undefined where one has ended before the other. Waits only for portions, because
 * a million waits for single items take longer than all else that is done with them.
 *
 * @param visit returns false to end it
 */
export async function zip<Item>(
  left: AsyncIterable<readonly Item[]>,
  right: AsyncIterable<readonly Item[]>,
  visit: (one: Item | undefined, two: Item | undefined) => boolean,
): Promise<void> {
  const streams = [createStream(left), createStream(right)] as const
  for (;;) {
    const [one, two] = [await streams[0].portion(), await streams[1].portion()]
    if (one === undefined && two === undefined) return
    const count = Math.min(one?.length ?? 1, two?.length ?? 1)
    for (let index = 0; index < count; index++) if (!visit(one?.[index], two?.[index])) return
    for (const stream of streams) stream.take(count)
  }
}

/** The items of a stream that were not taken yet. */
function createStream<Item>(portions: AsyncIterable<readonly Item[]>) {
  const iterator = portions[Symbol.asyncIterator]()
  let rest: readonly Item[] | undefined = []
  return {
    /** @returns at least one item; undefined at the end */
    async portion(): Promise<readonly Item[] | undefined> {
      while (rest?.length === 0) {
        const next = await iterator.next()
        rest = next.done === true ? undefined : next.value
      }
      return rest
    },
    take(count: number): void {
      rest = rest?.slice(count)
    },
  }
}
