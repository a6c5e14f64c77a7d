import { createHash } from 'node:crypto'
import type { FieldKeys } from '../keys/field-keys.ts'
import { type Decision, sumOf } from '../policy/policy.ts'
import type { Change } from './ports.ts'

/** All that an approval is for. */
export interface ApprovableCall {
  /** Of its tokens, in any order, repeats or not: neither changes what is revealed. Each says of which field it is. */
  readonly identities: readonly string[]
  readonly purpose: string
  readonly ticket?: string | undefined
}

/**
 * Exactly what the second person decides about: the approval covers nothing else.
 *
 * @param asked distinct tokens of each field that may be revealed
 */
export function describeApproval(
  keys: FieldKeys,
  call: ApprovableCall,
  asked: ReadonlyMap<string, number>,
  byField: ReadonlyMap<string, Decision>,
): Omit<Extract<Change, { readonly kind: 'request_approval' }>, 'kind' | 'id'> {
  // The level that the policy gives now, not the level that was asked for: if the policy becomes more generous meanwhile, the
  // approval is void.
  const levels = new Map(
    [...asked.keys()].map(field => [field, byField.get(field)!.level === 'full' ? 'full' : 'partial'] as const),
  )
  const reveal = [...levels.values()].includes('full') ? 'full' : 'partial'
  const digest = digestCall(keys, call, levels)
  return {
    digest,
    ticket: call.ticket,
    reveal,
    values: sumOf(asked),
    fields: Object.fromEntries(asked),
  }
}

/**
 * Keyed digest of a call: equal for calls that reveal the same for the same reason, different for all others, and
 * telling nothing to whoever lacks the audit key.
 *
 * @param levels what each field that the call reveals is revealed at: of two fields, one must not widen behind the other
 * @returns 22 letters of base64url
 */
function digestCall(
  keys: FieldKeys,
  { identities, purpose, ticket }: ApprovableCall,
  levels: ReadonlyMap<string, 'full' | 'partial'>,
): string {
  // JSON is injective; hashed first, because CMAC works on many short texts faster than on a long one.
  const sortedLevels = [...levels].sort(([a], [b]) => (a < b ? -1 : 1))
  const text = JSON.stringify(['detokenize', [...new Set(identities)].sort(), purpose, ticket ?? null, sortedLevels])
  const hash = createHash('sha256').update(text).digest('hex')
  // A token never begins so: no digest of a call is that of a token.
  // Under the oldest key, which is kept for ever: an approval outlives a rotation, and processes that take one up at different times agree.
  return keys.digests[0]!.digest([`tokenvault approval v1 ${hash}`])[0]!
}
