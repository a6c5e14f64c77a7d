/** One candidate in a process of its own, which drains one queue a request until it is told to stop. */
import { bareDrain } from './bare-drain.ts'
import type { Candidate, CandidateReport, DrainTask } from './candidate.ts'
import { naiveLoop } from './naive-loop.ts'
import { ourWorker } from './our-worker.ts'

const candidates: Readonly<Record<string, Candidate>> = { bareDrain, worker: ourWorker, naive: naiveLoop }
const candidate = candidates[process.argv[2] ?? '']!
const tell = (report: CandidateReport) => process.send!(report)
const now = () => performance.timeOrigin + performance.now()
let stopping = new AbortController()

process.on('message', async (request: DrainTask | 'stop') => {
  if (request === 'stop') return stopping.abort()
  stopping = new AbortController()
  const startedAtMs = now()
  const cpuBefore = process.cpuUsage()
  let lastAtMs = startedAtMs
  const done = (messages: number) => {
    lastAtMs = now()
    tell({ kind: 'done', messages })
  }
  await candidate(request, done, stopping.signal)
  const { user, system } = process.cpuUsage(cpuBefore)
  const peakRssMb = process.resourceUsage().maxRSS / 1024
  tell({ kind: 'ended', startedAtMs, lastAtMs, peakRssMb, cpuMicroseconds: user + system })
})
process.on('disconnect', () => process.exit())
