import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import type { Charge } from '../../../src/vault/admission/ports.ts'

/** What one process does: `actions` actions of `casey`, `callers` at a time. */
export interface ActionJob {
  readonly url: string
  /** Stands in its request ids. */
  readonly name: string
  readonly actions: number
  readonly callers: number
  readonly charge?: Charge | undefined
  readonly givesNothing?: boolean
  /** It kills itself (SIGKILL) once so many were answered; what it waits for then may be on record or not. */
  readonly killedAfter?: number
}

export interface ActionReport {
  readonly committed: readonly (readonly [sequence: number, requestId: string, leafHash: string])[]
  readonly refused: number
  /** Those of them that have no event of their own. */
  readonly counted: number
}

/** Runs each job in a process of its own. All begin once all are ready, each of which is one action of its own name. */
export async function runActionProcesses(
  t: Pick<Test, 'teardown'>,
  jobs: readonly ActionJob[],
): Promise<ActionReport[]> {
  const main = fileURLToPath(new URL('action-process-main.ts', import.meta.url))
  const running = jobs.map(job => {
    // `env -i`, because tap would load its own into every child.
    const command = [process.execPath, '--disable-warning=ExperimentalWarning', main, JSON.stringify(job)]
    const child = spawn('env', ['-i', ...command], { stdio: ['pipe', 'pipe', 'inherit'] })
    t.teardown(() => child.kill('SIGKILL'))
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
    const next = async () => {
      const { value, done } = await lines.next()
      if (done) throw new Error(`the process ${job.name} ended`)
      return value as string
    }
    return { child, next }
  })
  await Promise.all(running.map(({ next }) => next()))
  for (const { child } of running) child.stdin.write('go\n')
  return Promise.all(running.map(async ({ next }) => JSON.parse(await next()) as ActionReport))
}
