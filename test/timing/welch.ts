/**
 * Welch's t-test as dudect uses it (Reparaz, Balasch, Verbauwhede: "Dude, is my code constant time?", 2017): two classes of
 * measurements, tried as they are and again without their slowest part, because what interrupts a computer now and then
 * hides small differences in a long tail.
 */
export interface Verdict {
  /** The t of largest size among all crops; positive when the first class is slower. */
  readonly t: number
  /** What share of all measurements that crop keeps. */
  readonly kept: number
}

/** Beyond this a difference is hardly chance: p < 0.00001. */
export const threshold = 4.5

const crops = 100
/** Fewer measurements of a class say nothing. */
const fewest = 50

/** The statistic of Welch's t-test for two samples of unequal variance. */
export function welchT(first: readonly number[], second: readonly number[]): number {
  const [a, b] = [summarize(first), summarize(second)]
  const t = (a.mean - b.mean) / Math.sqrt(a.variance / a.count + b.variance / b.count)
  return Number.isNaN(t) ? 0 : t
}

/** The worst of the uncropped test and a hundred crops, at the percentiles 1 − 0.5^(10 i / 100) of both classes together. */
export function compare(first: readonly number[], second: readonly number[]): Verdict {
  const sorted = [...first, ...second].sort((a, b) => a - b)
  let worst: Verdict = { t: welchT(first, second), kept: 1 }
  for (let index = 1; index <= crops; index++) {
    const kept = 1 - 0.5 ** ((10 * index) / crops)
    const limit = sorted[Math.floor(kept * (sorted.length - 1))]!
    const [a, b] = [first, second].map(sample => sample.filter(value => value <= limit)) as [number[], number[]]
    if (Math.min(a.length, b.length) < fewest) continue
    const t = welchT(a, b)
    if (Math.abs(t) > Math.abs(worst.t)) worst = { t, kept }
  }
  return worst
}

function summarize(sample: readonly number[]): { count: number; mean: number; variance: number } {
  const count = sample.length
  const mean = sample.reduce((sum, value) => sum + value, 0) / count
  const variance = sample.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (count - 1)
  return { count, mean, variance }
}
