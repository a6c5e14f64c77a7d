import type { Log } from '../../log.ts'
import type { TokenizedMessage } from '../ports.ts'

/** What messages gave by taking effect: counted alike whether they came from a queue, by a Lambda event or out of the quarantine. */
export interface Tally {
  /** Rows committed to user_logins. */
  readonly rows: number
  /** Events, or whole messages, committed to the quarantine, by reason. */
  readonly reasons: ReadonlyMap<string, number>
  /** Values of the rows that are null because they are placeholders, by field. */
  readonly placeholders: ReadonlyMap<string, number>
}

/** A tally that grows. */
export class RunningTally implements Tally {
  rows = 0
  readonly reasons = new Map<string, number>()
  readonly placeholders = new Map<string, number>()

  /** @param message that took effect, and had none before */
  add({ rows, quarantined, placeholders = [] }: TokenizedMessage): void {
    this.rows += rows.length
    for (const { reason } of quarantined) increase(this.reasons, reason)
    for (const field of placeholders) increase(this.placeholders, field)
  }
}

/** All counts of one kind together. */
export function sumOf(counts: ReadonlyMap<string, number>): number {
  let sum = 0
  for (const count of counts.values()) sum += count
  return sum
}

/** One line for each reason and each field. */
export function logTally({ reasons, placeholders }: Tally, log: Log): void {
  for (const [reason, count] of reasons) log.info({ event: 'quarantined', reason, count })
  for (const [field, count] of placeholders) log.info({ event: 'placeholders', field, count })
}

function increase(counts: Map<string, number>, label: string): void {
  counts.set(label, (counts.get(label) ?? 0) + 1)
}
