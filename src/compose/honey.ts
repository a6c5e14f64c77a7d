import { repeat } from '../concurrency/waiting.ts'
import type { Log } from '../log.ts'
import type { HoneyTraps, RaiseAlarm } from '../vault/admission/honey-traps.ts'
import type { FieldSchema } from '../vault/fields/fields.ts'
import { nameWatched } from '../vault/honey/honey-tokens.ts'
import type { HoneyStore, WatchedToken } from '../vault/honey/ports.ts'

/** Between two looks at which tokens are watched: one that another process made is watched here before long. */
const intervalMilliseconds = 2_000

/** Honey tokens that follow what is stored. */
export interface FollowedTraps extends HoneyTraps {
  /** Looks at once. Never throws: what is watched stays so. */
  refresh(): Promise<void>
  stop(): void
}

/**
 * Keeps the honey tokens in memory, because every token that is given is looked up there.
 *
 * @throws TokenvaultError `store_unavailable` where the first look fails: no process gives values while it watches none
 */
export async function followTraps(options: {
  readonly store: Pick<HoneyStore, 'readWatched'>
  readonly fields: FieldSchema
  readonly log: Log
  readonly raiseAlarm?: RaiseAlarm | undefined
}): Promise<FollowedTraps> {
  const { store, fields, log, raiseAlarm } = options
  const read = async () => {
    const watched = await store.readWatched()
    return new Map(watched.map(each => [nameWatched(fields, each), each]))
  }
  let byToken: ReadonlyMap<string, WatchedToken> = await read()
  const notes = (ids: readonly string[]) => {
    const met = new Set(ids)
    return [...new Set([...byToken.values()].flatMap(({ id, note }) => (met.has(id) ? [note] : [])))]
  }
  const stopping = new AbortController()
  const refresh = async () => {
    try {
      byToken = await read()
    } catch (err) {
      if (!stopping.signal.aborted) log.warn({ event: 'honey_not_read', err })
    }
  }
  const look = async () => {
    await refresh()
    return intervalMilliseconds
  }
  void repeat(look, stopping.signal, { firstAfterMilliseconds: intervalMilliseconds, ref: false })
  return {
    find(tokens) {
      if (byToken.size === 0) return []
      return [...new Set(tokens.flatMap(token => byToken.get(token)?.id ?? []))]
    },
    tell({ event, ids, suspends }) {
      const { requestId, issuer, subject, roles, client, purpose, ticket, at } = event
      log.error({ event: 'honey_met', requestId, count: ids.length })
      const who = { requestId, issuer, subject, roles, ...(client === undefined ? {} : { client }) }
      const why = { purpose, ...(ticket === undefined ? {} : { ticket }) }
      raiseAlarm?.({ ...who, ...why, tokens: ids.length, notes: notes(ids), suspends, at })
    },
    refresh,
    stop: () => stopping.abort(),
  }
}
