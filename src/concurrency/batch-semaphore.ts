import type { Writable } from 'node:stream'
import { TokenvaultError } from '../errors.ts'

/**
 * Bounds the items of batches that are worked on at once: an item costs memory from the moment that work on it begins,
 * and callers decide how many come together. The others wait in order, a small one behind a large one too, so that no
 * batch waits for ever.
 */
export interface BatchSemaphore {
  /**
   * Does the work as soon as its items fit beside those under way. More than the semaphore takes fit alone.
   *
   * @param destination where the result goes; if it is closed before the work begins, nothing is done
   * @throws TokenvaultError `overloaded` where nobody awaits the result any more, and what the work throws
   */
  run<T>(items: number, destination: Destination, work: () => Promise<T>): Promise<T>
}

/** A stream that tells when it is closed; it is listened to only while its batch waits. */
export type Destination = Pick<Writable, 'destroyed' | 'once' | 'off'>

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
  const enter = (items: number, destination: Destination) =>
    new Promise<void>((resolve, reject) => {
      const leave = () => {
        waiting.delete(place)
        reject(leftError())
        // Those behind may fit.
        admit()
      }
      const place = {
        items,
        enter: () => {
          destination.off('close', leave)
          resolve()
        },
      }
      destination.once('close', leave)
      waiting.add(place)
      admit()
    })

  return {
    async run(asked, destination, work) {
      if (destination.destroyed) throw leftError()
      const items = Math.min(asked, maxItems)
      if (waiting.size === 0 && items <= free) free -= items
      else await enter(items, destination)
      try {
        return await work()
      } finally {
        free += items
        admit()
      }
    },
  }
}

/** For the log: whoever would be told has gone. */
function leftError(): TokenvaultError {
  return new TokenvaultError('overloaded', 'the client went away while its call waited')
}
