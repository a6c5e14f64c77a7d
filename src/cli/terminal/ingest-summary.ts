import type { IngestTotals, WorkerTotals } from '../../ingest/worker/worker.ts'

/** Prints what a run did: one JSON line, or one for people. The last line on standard output. */
export function writeSummary(totals: IngestTotals, { json }: { json?: boolean }): void {
  const { batches: _, ...counts } = totals
  process.stdout.write(`${json ? JSON.stringify(counts) : describeTotals(totals)}\n`)
}

/** What there is of every run; of the rest, what happened. */
function describeTotals(totals: IngestTotals): string {
  const { received, stored, quarantined, duplicates, redriven, placeholders, released, returned } = totals
  return [
    `${received} received, ${stored} stored, ${quarantined} quarantined, ${duplicates} duplicates, ${redriven} redriven`,
    ...(returned > 0 ? [`${returned} still not events`] : []),
    ...(placeholders > 0 ? [`${placeholders} placeholders`] : []),
    ...(released > 0 ? [`${released} released`] : []),
  ].join(', ')
}

/**
 * Says how many deliveries a drain gave back without effect, and why, and makes that the exit code: whoever runs a drain from cron
 * must not take it for done. One that was interrupted has said so.
 */
export function reportReleased({ released, unstorable, heldBack }: IngestTotals): void {
  // One that could not even be given back comes again by itself.
  const count = Math.max(released, unstorable + heldBack)
  if (count === 0) return
  const reasons = [
    ...(unstorable > 0 ? [`${unstorable} that the database refuses even alone (store_refused; the log says why)`] : []),
    ...(heldBack > 0 ? [`${heldBack} held back behind them in FIFO groups`] : []),
  ]
  const why = reasons.length === 0 ? '' : `: ${reasons.join(', ')}`
  process.stderr.write(
    `tokenvault: released: ${count} ${count === 1 ? 'delivery was' : 'deliveries were'} given back to the queue and not stored${why}. They come again.\n`,
  )
  process.exitCode = 1
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
