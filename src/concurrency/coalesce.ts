import { setImmediate } from 'node:timers/promises'

/** How much one group takes, and how many groups are worked on at once. */
export interface GroupLimits<Item> {
  readonly lanes: number
  /** Items of a group, at most; any number when absent. */
  readonly maxItems?: number
  readonly weigh: (item: Item) => number
  /** Weight of a group, at most. One item may be heavier than that: it then stands alone. */
  readonly maxWeight: number
}

interface Waiting<Item, Result> {
  readonly item: Item
  readonly resolve: (result: Result) => void
  readonly reject: (error: unknown) => void
}

/**
 * Lets items that come at once share one piece of work: while every lane works, what comes waits, in order, and shares the
 * next group. Worth it where a piece of work costs far more than an item in it.
 *
 * @param work takes the items of a group, never none, and gives one result an item, in their order; what it throws
 *   is thrown to everyone in the group, and the next group is worked on all the same
 * @returns submits one item and gives its result
 */
export function coalesce<Item, Result>(
  limits: GroupLimits<Item>,
  work: (group: readonly Item[]) => Promise<readonly Result[]>,
): (item: Item) => Promise<Result> {
  const waiting: Waiting<Item, Result>[] = []
  let busyLanes = 0

  async function workOnWaiting(): Promise<void> {
    busyLanes++
    // What the sockets hold besides comes in this turn of the event loop, too.
    await setImmediate()
    while (waiting.length > 0) {
      const group = waiting.splice(0, groupLength(waiting, limits))
      try {
        const results = await work(group.map(({ item }) => item))
        for (const [index, { resolve }] of group.entries()) resolve(results[index]!)
      } catch (error) {
        for (const { reject } of group) reject(error)
      }
    }
    busyLanes--
  }

  return item =>
    new Promise((resolve, reject) => {
      waiting.push({ item, resolve, reject })
      if (busyLanes < limits.lanes) void workOnWaiting()
    })
}

function groupLength<Item>(
  waiting: readonly { readonly item: Item }[],
  { maxItems = Number.POSITIVE_INFINITY, weigh, maxWeight }: GroupLimits<Item>,
): number {
  let weight = 0
  const end = waiting.findIndex(({ item }, index) => {
    weight += weigh(item)
    return index > 0 && (index === maxItems || weight > maxWeight)
  })
  return end === -1 ? waiting.length : end
}
