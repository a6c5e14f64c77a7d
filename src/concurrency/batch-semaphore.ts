/**
 * Bounds the items of batches that are worked on at once: an item costs memory from the moment that work on it begins,
 * and callers decide how many come together. The others wait in order, a small one behind a large one too, so that no
 * batch waits for ever.
 */
export interface BatchSemaphore {
  /**
   * Does the work as soon as its items fit beside those under way. More than the semaphore takes fit alone.
   *
   * @param signal aborted where nobody wants the work any more; where that is while it waits, nothing is done
   * @throws the signal's reason, and what the work throws
   */
  run<T>(items: number, signal: AbortSignal, work: () => Promise<T>): Promise<T>
}

interface Waiting {
  readonly items: number
  readonly enter: () => void
}

/** @param maxItems worked on at once */
export function createBatchSemaphore(maxItems: number): BatchSemaphore {
  let free = maxItems
  const waiting = new Set<Waiting>()

  const admit = () => {
    for (const next of waiting) {
      if (next.items > free) return
      waiting.delete(next)
      free -= next.items
      next.enter()
    }
  }
  const enter = (items: number, signal: AbortSignal) =>
    new Promise<void>((resolve, reject) => {
      const leave = () => {
        waiting.delete(place)
        reject(signal.reason)
        // Those behind may fit.
        admit()
      }
      const place = {
        items,
        enter: () => {
          signal.removeEventListener('abort', leave)
          resolve()
        },
      }
      signal.addEventListener('abort', leave, { once: true })
      waiting.add(place)
      admit()
    })

  return {
    async run(asked, signal, work) {
      signal.throwIfAborted()
      const items = Math.min(asked, maxItems)
      if (waiting.size === 0 && items <= free) free -= items
      else await enter(items, signal)
      try {
        return await work()
      } finally {
        free += items
        admit()
      }
    },
  }
}
