import { setTimeout as delay } from 'node:timers/promises'
import { TokenvaultError } from '../errors.ts'
import type { Log } from '../log.ts'
import type { AuditSearch } from '../vault/evidence/ports.ts'

/**
 * Brings the search index up to date now and after each interval, so that a search has a minute's events to index and not
 * those of a year. It holds nobody up: a backlog takes as long as it takes. A failure is logged when it begins, when it
 * becomes another one and when it is over.
 *
 * @returns what stops it, between two steps: no checkpoint waits for the step under way, and closing the database does, until
 *   that statement's time is over at most
 */
export function followLog(options: {
  readonly search: Pick<AuditSearch, 'indexEvents'>
  readonly intervalMilliseconds: number
  readonly log: Log
}): () => void {
  const { search, intervalMilliseconds, log } = options
  const stopping = new AbortController()
  const { signal } = stopping
  let failing: string | undefined

  const attempt = async () => {
    try {
      await search.indexEvents(signal)
      if (failing !== undefined && !signal.aborted) log.info({ event: 'search_index_recovered' })
      failing = undefined
    } catch (error) {
      // Whoever stops it may take the database away, too.
      if (signal.aborted) return
      const state = error instanceof TokenvaultError ? `${error.code} ${error.message}` : 'unexpected'
      if (state !== failing) {
        log[error instanceof TokenvaultError ? 'warn' : 'error']({ event: 'search_index_failed', err: error })
      }
      failing = state
    }
  }
  void (async () => {
    while (!signal.aborted) {
      await attempt()
      await delay(intervalMilliseconds, undefined, { signal, ref: false }).catch(() => {})
    }
  })()
  return () => stopping.abort()
}
