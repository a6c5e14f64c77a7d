import { type ChildProcess, fork } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { on, once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { youngGenerationFlags } from '../../src/cli/process/v8-flags.ts'
import { prepareDatabase } from '../../src/compose/prepare-database.ts'
import { loadConfig } from '../../src/config/load.ts'
import { startPostgres } from '../../src/embedded/postgres.ts'
import { ensureDatabase } from '../../src/store/setup/ensure-database.ts'
import type { CandidateReport, DrainTask } from './candidate.ts'
import type { FilledQueue, FillRequest } from './queue-process.ts'

/** A durable Postgres (fsync on, synchronous commits) and a queue server, each with processes of their own. */
export interface Setting {
  /** A new queue that holds so many messages: after a poll that was cut short, fauxqs may serve the dead connection. */
  fill(messages: number, eventsPerMessage?: number): Promise<DrainTask>
  close(): Promise<void>
}

export async function openSetting(): Promise<Setting> {
  const directory = mkdtempSync(join(tmpdir(), 'tokenvault-bench-'))
  const KEK_FILE = join(directory, 'kek')
  writeFileSync(KEK_FILE, randomBytes(32), { mode: 0o600 })
  const postgres = await startPostgres({ dataDir: directory, port: 0 })
  const DATABASE_URL = await ensureDatabase(postgres.adminUrl, 'tokenvault')
  await prepareDatabase(loadConfig('migrate', { DATABASE_URL, KEK_FILE }), { environment: {} })
  // A million messages are a gigabyte there.
  const server = start('queue-process.ts', [], ['--max-old-space-size=8192'])
  let seed = 0
  return {
    async fill(messages, eventsPerMessage = 1) {
      seed++
      server.send({ name: `bench-${seed}`, messages, eventsPerMessage, seed } satisfies FillRequest)
      const [filled] = await once(server, 'message')
      const { queueUrl, endpoint } = filled as FilledQueue
      const queue = { SQS_QUEUE_URL: queueUrl, AWS_ENDPOINT_URL_SQS: endpoint }
      return { worker: { ...process.env, DATABASE_URL, KEK_FILE, ...queue } as Record<string, string> }
    },
    async close() {
      server.disconnect()
      await postgres.stop()
      rmSync(directory, { recursive: true, force: true })
    },
  }
}

/** What one candidate's drain of one queue took. */
export interface Drained {
  readonly messagesPerSecond: number
  /** CPU of the candidate's own processes. */
  readonly cpuMicrosecondsPerMessage: number
  readonly peakRssMb: number
}

/** Processes of one candidate, kept from round to round so that their code is warm. */
export interface Runner {
  /** @param messages those in the queue, all of which must be done; fewer to stop before the queue is empty */
  drain(task: DrainTask, messages: number): Promise<Drained>
  close(): void
}

export function startRunner(candidate: 'bareDrain' | 'worker' | 'naive', processes = 1): Runner {
  // As `tokenvault worker` runs; the bare client gets the same, so that memory and collector are no difference.
  const children = Array.from({ length: processes }, () =>
    start('candidate-process.ts', [candidate], youngGenerationFlags('worker')),
  )
  return {
    async drain(task, messages) {
      let done = 0
      const reports = children.map(async child => {
        child.send(task)
        for await (const [report] of on(child, 'message') as AsyncIterable<[CandidateReport]>) {
          if (report.kind === 'ended') return report
          done += report.messages
          if (done >= messages) for (const other of children) other.send('stop')
        }
        throw new Error('a candidate ended')
      })
      const ended = await Promise.all(reports)
      const startedAtMs = Math.min(...ended.map(report => report.startedAtMs))
      const lastAtMs = Math.max(...ended.map(report => report.lastAtMs))
      return {
        messagesPerSecond: (done * 1000) / (lastAtMs - startedAtMs),
        cpuMicrosecondsPerMessage: ended.reduce((sum, { cpuMicroseconds }) => sum + cpuMicroseconds, 0) / done,
        peakRssMb: Math.max(...ended.map(report => report.peakRssMb)),
      }
    },
    close() {
      for (const child of children) child.disconnect()
    },
  }
}

/** With the parent's own flags, so that `node --cpu-prof bench/main.ts ingest` profiles every process. */
function start(file: string, args: readonly string[], execArgv: readonly string[] = []): ChildProcess {
  const path = fileURLToPath(new URL(file, import.meta.url))
  return fork(path, args, { execArgv: [...process.execArgv, '--disable-warning=ExperimentalWarning', ...execArgv] })
}
