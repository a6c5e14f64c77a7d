/**
 * Runs the candidates in turn, many short rounds each, so that a change of the machine's speed meets all of them, and
 * takes each one's median.
 *
 * @param operations how many operations one call of a candidate does
 * @returns operations a second by candidate
 */
export function measureRates<Name extends string>(
  operations: number,
  candidates: Readonly<Record<Name, () => unknown>>,
  { rounds = 15, roundMilliseconds = 150 } = {},
): Record<Name, number> {
  const names = Object.keys(candidates) as Name[]
  const rates = new Map<Name, number[]>(names.map(name => [name, []]))
  for (let round = -2; round < rounds; round++) {
    for (const name of names) {
      const start = performance.now()
      let calls = 0
      let elapsed = 0
      do {
        candidates[name]()
        calls++
        elapsed = performance.now() - start
      } while (elapsed < roundMilliseconds)
      // Rounds below 0 warm up.
      if (round >= 0) rates.get(name)!.push((calls * operations * 1000) / elapsed)
    }
  }
  return Object.fromEntries(names.map(name => [name, median(rates.get(name)!)])) as Record<Name, number>
}

/** The middle one of them in order. */
export function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)]!
}
