import { randomInt } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'

/** `npm run test:faults` runs the long tier; `npm test` a short one of the same code. */
export const isLong = process.env['FAULTS'] === 'long'

/** The size of a scenario in this tier. */
export function inTier<T>(sizes: { readonly short: T; readonly long: T }): T {
  return isLong ? sizes.long : sizes.short
}

/** Every choice of a scenario comes from here; what processes do in between stays theirs. */
export interface Plan {
  /** 0 to limit - 1. */
  below(limit: number): number
  chance(probability: number): boolean
  pick<T>(values: readonly T[]): T
}

/** What to set FAULT_SEED to, to make the same choices again. Stands in the title of every scenario. */
export const seed = Number(process.env['FAULT_SEED'] ?? randomInt(2 ** 31))

/** The choices of one scenario. */
export function makePlan(): Plan {
  // mulberry32
  let state = seed | 0
  const next = () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
  const below = (limit: number) => Math.floor(next() * limit)
  return { below, chance: probability => next() < probability, pick: values => values[below(values.length)]! }
}

/** Looks until the condition holds; fails by name when it does not in time. */
export async function until(
  what: string,
  condition: () => boolean | Promise<boolean>,
  withinSeconds = inTier({ short: 60, long: 300 }),
): Promise<void> {
  const deadlineMs = performance.now() + withinSeconds * 1000
  while (!(await condition())) {
    if (performance.now() > deadlineMs) throw new Error(`not within ${withinSeconds} s: ${what}`)
    await sleep(20)
  }
}
