import { TokenvaultError } from '../../errors.ts'
import { leafHash } from '../../tlog/merkle.ts'
import { type Criteria, meets, parseEvent } from './criteria.ts'
import { describeEvent, type FoundEvent } from './found-event.ts'
import type { AuditSearch } from './ports.ts'

/** Most events that are held in memory in full: one about 10,000 tokens has a quarter of a megabyte, of which one line is shown. */
const eventsAtOnce = 100
/** Most events that one search reads, and steps of the index that it takes, until it answers with what it has. */
const eventsReadAtMost = 10_000
const stepsAtMost = 200

export interface FoundEvents {
  /** Newest first. */
  readonly events: readonly FoundEvent[]
  /** `before` of the next page. A page may hold few events, or none, and have one: then there was too much to read at once. */
  readonly next?: number | undefined
}

/**
 * Goes through what the index gives until enough events meet the criteria, or it was much to read.
 *
 * @param before only events of a smaller sequence
 * @throws TokenvaultError `audit_invalid` where an event was altered; `store_unavailable`
 */
export async function findEvents(
  search: AuditSearch,
  criteria: Criteria,
  before: number | undefined,
  limit: number,
): Promise<FoundEvents> {
  const events: FoundEvent[] = []
  let next = before
  for (let read = 0, steps = 0; read < eventsReadAtMost && steps < stepsAtMost; steps++) {
    const candidates = await search.findCandidates(criteria, { before: next, limit: eventsAtOnce })
    for (const { sequence, event, leafHash: stored } of candidates.events) {
      // Also of one that does not meet the criteria: it may have met them before it was altered.
      if (Buffer.compare(leafHash(event), stored) !== 0)
        throw new TokenvaultError('audit_invalid', `event ${sequence} was altered`)
      const members = parseEvent(event)
      if (!meets(members, criteria)) continue
      events.push(describeEvent(members, sequence, stored))
      if (events.length === limit) return { events, next: sequence }
    }
    read += candidates.events.length
    next = candidates.next
    if (next === undefined) break
  }
  return { events, next }
}
