import type { IngestTotals, WorkerTotals } from '../../ingest/worker/worker.ts'

/** Prints what a run did: one JSON line, or one for people. The last line on standard output. */
export function writeSummary(totals: IngestTotals, { json }: { json?: boolean }): void {
  const { received, stored, quarantined, duplicates, released, undeleted, redriven } = totals
  const summary = { received, stored, quarantined, duplicates, released, undeleted, redriven }
  const text = json
    ? JSON.stringify(summary)
    : `${received} received, ${stored} stored, ${quarantined} quarantined, ${duplicates} duplicates, ${redriven} redriven`
  process.stdout.write(`${text}\n`)
}

/** Says that a drain was stopped before its end, and makes it the exit code. */
export function reportInterruptedDrain(): void {
  process.stderr.write('tokenvault: stopped: the queue is not drained. What is left stays in it; run this again.\n')
  process.exitCode = 1
}

const secondsBetweenLines = 5

/**
 * Tells on standard error how far a run is, for those who watch it: one line that counts on a terminal (`live`), or a line
 * every five seconds (`lines`), which a short run never reaches.
 */
export function createProgress(mode: 'live' | 'lines' | 'none'): {
  update: (totals: WorkerTotals) => void
  end: () => void
} {
  const startedAtMs = performance.now()
  let toldAtMs = startedAtMs
  const update = ({ received, stored, quarantined }: WorkerTotals) => {
    const nowMs = performance.now()
    if (mode === 'none' || (mode === 'lines' && nowMs - toldAtMs < secondsBetweenLines * 1000)) return
    toldAtMs = nowMs
    const rate = Math.round((received * 1000) / (nowMs - startedAtMs))
    const text = `${received} received, ${stored} stored, ${quarantined} quarantined, ${rate}/s`
    process.stderr.write(mode === 'live' ? `\r${text}\u001b[K` : `${text}\n`)
  }
  const end = () => {
    if (mode === 'live') process.stderr.write('\r\u001b[K')
  }
  return { update, end }
}
