import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import { compiled } from '../cli/cli.ts'

const entry = fileURLToPath(new URL('../../../src/cli/tokenvault.js', import.meta.url))

/** `tokenvault worker` in a process of its own. */
export interface WorkerProcess {
  readonly pid: number
  /** Everything it wrote. */
  output(): string
  isRunning(): boolean
  /** Sends the signal and waits for its end. */
  end(signal: NodeJS.Signals): Promise<{ readonly code: number | null }>
}

/** Starts a worker; it is killed when the test ends. */
export function startWorker(
  t: Pick<Test, 'teardown'>,
  environment: Readonly<Record<string, string>>,
  args: readonly string[] = [],
): WorkerProcess {
  const pairs = Object.entries({ ...compiled, ...environment }).map(([name, value]) => `${name}=${value}`)
  // `env -i`, because tap makes every child one of its own.
  const child = spawn('env', ['-i', ...pairs, process.execPath, entry, 'worker', ...args], { cwd: '/' })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', text => {
      output += text
    })
  }
  const closed = once(child, 'close').then(([code]) => ({ code: code as number | null }))
  const isRunning = () => child.exitCode === null && child.signalCode === null
  const end = async (signal: NodeJS.Signals) => {
    if (isRunning()) child.kill(signal)
    return closed
  }
  t.teardown(() => end('SIGKILL'))
  return { pid: child.pid!, output: () => output, isRunning, end }
}
