import type { Log } from '../../log.ts'
import type { Observe } from '../metrics/observe.ts'
import type { MessageQueue } from '../ports.ts'

const secondsBetweenLooks = 15

/** Asks the queue how much it holds, now and every 15 seconds, and tells it. @returns ends it */
export function startDepthWatch(options: {
  readonly queue: Pick<MessageQueue, 'depth'>
  readonly observe: Observe
  readonly log: Log
}): () => void {
  const { queue, observe, log } = options
  const look = async () => {
    try {
      observe({ kind: 'depth', ...(await queue.depth()) })
    } catch (err) {
      log.warn({ event: 'depth_unknown', err })
      observe({ kind: 'queue_failed', operation: 'depth' })
    }
  }
  void look()
  const timer = setInterval(look, secondsBetweenLooks * 1000)
  timer.unref()
  return () => clearInterval(timer)
}
