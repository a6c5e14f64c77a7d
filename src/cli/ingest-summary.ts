import type { WorkerTotals } from '../ingest/worker.ts'

/** Prints what a run did: one JSON line, or one for people. The last line on standard output. */
export function writeSummary(totals: WorkerTotals, { json }: { json?: boolean }): void {
  const { received, stored, quarantined, duplicates, released, undeleted } = totals
  const summary = { received, stored, quarantined, duplicates, released, undeleted }
  const text = json
    ? JSON.stringify(summary)
    : `${received} received, ${stored} stored, ${quarantined} quarantined, ${duplicates} duplicates`
  process.stdout.write(`${text}\n`)
}

/** A line on standard error that counts, for runs that somebody watches. */
export function createProgress({ shown }: { shown: boolean }): {
  update: (totals: WorkerTotals) => void
  end: () => void
} {
  if (!shown) return { update: () => {}, end: () => {} }
  const startedAtMs = performance.now()
  return {
    update: ({ received, stored, quarantined }) => {
      const rate = Math.round((received * 1000) / (performance.now() - startedAtMs))
      process.stderr.write(`\r${received} received, ${stored} stored, ${quarantined} quarantined, ${rate}/s\u001b[K`)
    },
    end: () => void process.stderr.write('\r\u001b[K'),
  }
}
