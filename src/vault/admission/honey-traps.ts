import type { FieldKeys } from '../keys/field-keys.ts'
import type { Policy } from '../policy/policy.ts'
import { type ActionCall, type ActionOutcome, describeEvents } from './audit-event.ts'
import type { AuditEvent, MetHoney } from './ports.ts'

/** Tokens that nobody has a reason to open. Who they are stays here: no event and no answer names one. */
export interface HoneyTraps {
  /** @param tokens as ActionOutcome.grantedTokens has them @returns ids of the honey tokens among them, without repeats */
  find(tokens: readonly string[]): readonly string[]
  /** Raises the alarm. Never throws and never waits. */
  tell(met: MetHoney): void
}

/** What is told when honey tokens were met. It names no token. */
export interface HoneyAlarm
  extends Pick<AuditEvent, 'requestId' | 'issuer' | 'subject' | 'roles' | 'client' | 'purpose' | 'ticket'> {
  /** How many honey tokens. */
  readonly tokens: number
  /** Notes of theirs, without repeats. */
  readonly notes: readonly string[]
  readonly suspends: boolean
  /** When they were met: RFC 3339, UTC. */
  readonly at: string
}

/** Raises an alarm, some time later. Never throws and never waits. */
export type RaiseAlarm = (alarm: HoneyAlarm) => void

/** Where a caller names what it wants. A crosswalk gives every token there is, and tells nothing by meeting these. */
const trapped: ReadonlySet<ActionCall['operation']> = new Set(['detokenize', 'tokenize'])

/**
 * The honey tokens that an action gives, and the event of it. That of the action stays as it is, so that whoever reads or
 * searches the evidence does not learn which of its tokens they were.
 *
 * @returns undefined where it gives none
 */
export function meetHoney(
  traps: Pick<HoneyTraps, 'find'>,
  call: ActionCall,
  { grantedTokens = [] }: ActionOutcome,
  context: { readonly at: Date; readonly keys: FieldKeys; readonly policy: Policy },
): MetHoney | undefined {
  if (grantedTokens.length === 0 || !trapped.has(call.operation)) return undefined
  const ids = traps.find(grantedTokens)
  if (ids.length === 0) return undefined
  const { admitted } = describeEvents(call, {}, context)
  // Members that are given anew stay where they stand.
  const event: AuditEvent = { ...admitted, type: 'honey', requested: ids.length, granted: ids.length }
  return { event, ids, suspends: context.policy.onHoney === 'suspend' }
}
