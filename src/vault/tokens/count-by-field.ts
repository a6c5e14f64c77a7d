import type { FieldCounts } from '../admission/ports.ts'
import type { RevealLevel } from '../policy/policy.ts'

/**
 * Items of a call by field, for its evidence. Only fields of the configuration are counted: what else a caller names must
 * not get into the log, in which it would stand for ever.
 *
 * @param levels of every configured field, in the order of the configuration
 * @param asked the field that each item names; undefined where it names none
 * @param granted the field of each item that is given
 * @returns the fields that are asked for, in the order of `levels`
 */
export function countByField(
  levels: ReadonlyMap<string, { readonly level: RevealLevel }>,
  asked: readonly (string | undefined)[],
  granted: readonly (string | undefined)[],
): ReadonlyMap<string, FieldCounts> {
  const [askedOf, grantedOf] = [tally(asked), tally(granted)]
  const counts = [...levels].flatMap(([field, { level }]) => {
    const requested = askedOf.get(field)
    return requested === undefined ? [] : [[field, { requested, granted: grantedOf.get(field) ?? 0, level }] as const]
  })
  return new Map(counts)
}

/** How often each stands there, in the order in which they first do. */
export function tally<Name>(names: readonly Name[]): ReadonlyMap<Name, number> {
  const counts = new Map<Name, number>()
  for (const name of names) counts.set(name, (counts.get(name) ?? 0) + 1)
  return counts
}
