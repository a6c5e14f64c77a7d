import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'

/** What a child process serves; see embedded-process-main.ts. */
export type Served = 'postgres' | 'sqs' | 'sqs-in-memory' | 'lock' | 'secret'

/** A process of its own that holds something embedded, so that a test can kill it. */
export interface EmbeddedProcess {
  readonly child: ChildProcess
  /** The JSON that it prints when it serves; undefined when it ended before. */
  readonly report: Promise<Record<string, string> | undefined>
  /** Sends the signal and waits for the end of the process. */
  end(signal: NodeJS.Signals): Promise<void>
}

/** Starts the child in a process group of its own; it is killed when the test ends. */
export function startProcess(
  t: Pick<Test, 'teardown'>,
  served: Served,
  dataDir: string,
  uid?: number,
): EmbeddedProcess {
  const main = fileURLToPath(new URL('embedded-process-main.ts', import.meta.url))
  // `env -i`, because tap makes every child record itself in .tap, where another user may not write.
  const command = [process.execPath, '--disable-warning=ExperimentalWarning', main, served, dataDir]
  const child = spawn('env', ['-i', ...command], {
    stdio: ['ignore', 'pipe', 'inherit'],
    cwd: '/',
    detached: true,
    ...(uid === undefined ? {} : { uid, gid: uid }),
  })
  const exit = once(child, 'exit')
  const lines = createInterface({ input: child.stdout })
  const report = Promise.race([once(lines, 'line').then(([line]) => JSON.parse(line)), exit.then(() => undefined)])
  const end = async (signal: NodeJS.Signals) => {
    if (child.exitCode === null && child.signalCode === null) child.kill(signal)
    await exit
  }
  t.teardown(() => end('SIGKILL'))
  return { child, report, end }
}
