import type { Writable } from 'node:stream'
import { TokenvaultError } from '../errors.ts'

/** Whoever waits for an answer; `raw` closes when they go away. */
export interface Reply {
  readonly raw: Pick<Writable, 'destroyed' | 'once' | 'off'>
}

/**
 * Bounds the items of batches that are worked on at once, over all requests: an item costs memory from the moment it is
 * looked up until its reply is made, and callers decide how many come together. The others wait in order, a small one behind
 * a large one too, so that no call waits for ever.
 */
export interface ItemGate {
  /**
   * Does the work as soon as its items fit beside those under way. More than the gate takes fit alone.
   *
   * @param reply of the request; where its client goes away while it waits, nothing is done
   * @throws TokenvaultError `overloaded`, which that client does not hear; and what the work throws
   */
  run<T>(items: number, reply: Reply, work: () => Promise<T>): Promise<T>
}

interface Waiting {
  readonly items: number
  readonly enter: () => void
}

/** @param maxItems worked on at once */
export function createItemGate(maxItems: number): ItemGate {
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
  const enter = (items: number, { raw }: Reply) =>
    new Promise<void>((resolve, reject) => {
      if (raw.destroyed) return reject(gone())
      const leave = () => {
        waiting.delete(place)
        reject(gone())
        // Those behind may fit.
        admit()
      }
      const place = {
        items,
        enter: () => {
          raw.off('close', leave)
          resolve()
        },
      }
      raw.once('close', leave)
      waiting.add(place)
      admit()
    })

  return {
    async run(asked, reply, work) {
      const items = Math.min(asked, maxItems)
      await enter(items, reply)
      try {
        return await work()
      } finally {
        free += items
        admit()
      }
    },
  }
}

function gone(): TokenvaultError {
  return new TokenvaultError('overloaded', 'the client went away while its call waited')
}
