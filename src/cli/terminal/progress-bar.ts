const width = 24

/** Counts between two plain lines. */
const plainStep = 1000

/**
 * Progress on standard error: a bar that redraws itself on a terminal, otherwise a line for every thousand.
 *
 * @param options.total about how many there will be; 0 where nobody knows
 */
export function createProgressBar(options: {
  readonly total: number
  readonly unit: string
  readonly isTerminal: boolean
  readonly write?: (text: string) => void
}): { update(done: number): void; end(): void } {
  const { total, unit, isTerminal, write = text => void process.stderr.write(text) } = options
  const startedAtMs = performance.now()
  let nextPlain = plainStep
  return {
    update(done) {
      // More than expected may have come in.
      const expected = Math.max(total, done)
      if (isTerminal) {
        const filled = expected === 0 ? 0 : Math.floor((done / expected) * width)
        const rate = Math.round((done * 1000) / Math.max(1, performance.now() - startedAtMs))
        write(`\r[${'#'.repeat(filled).padEnd(width, '-')}] ${done} of ${expected} ${unit}, ${rate}/s\u001b[K`)
      } else if (done >= nextPlain) {
        write(`${done} of ${expected} ${unit}\n`)
        nextPlain = (Math.floor(done / plainStep) + 1) * plainStep
      }
    },
    end() {
      if (isTerminal) write('\r\u001b[K')
    },
  }
}
