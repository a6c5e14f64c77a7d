import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import { compileCache } from '../run/tap.ts'

const entry = fileURLToPath(new URL('../../../src/cli/tokenvault.js', import.meta.url))

/** A command that the suite starts hundreds of times need not compile hundreds of times. */
export const compiled = { NODE_COMPILE_CACHE: compileCache }

/** A tokenvault command that runs in a process of its own. */
export interface Command {
  readonly process: ChildProcess
  stdout(): string
  stderr(): string
  /** Resolves with the first match once it stands in standard output; rejects when the process ends without it. */
  printed(pattern: RegExp): Promise<RegExpExecArray>
  /** Resolves when the process has ended. */
  ended: Promise<{ readonly code: number | null; readonly signal: NodeJS.Signals | null }>
}

/**
 * Starts a command; one that still runs at the end of the test is stopped, and with it the servers it started.
 *
 * @param input all of its standard input, none unless given; null where the test writes it
 * @param directory in which it runs
 */
export function startCommand(
  t: Test,
  args: readonly string[],
  environment: NodeJS.ProcessEnv = {},
  input: string | Uint8Array | null = '',
  directory = process.cwd(),
): Command {
  const { PATH, TMPDIR } = process.env
  const variables = Object.entries({ PATH, TMPDIR, ...compiled, ...environment })
  const pairs = variables.flatMap(([name, value]) => (value === undefined ? [] : [`${name}=${value}`]))
  // `env -i`, because tap would load its own into every child.
  const command = ['-i', ...pairs, process.execPath, entry, ...args]
  const child = spawn('env', command, { cwd: directory, stdio: ['pipe', 'pipe', 'pipe'] })
  // Who reads none of it may have ended before it is written.
  child.stdin.on('error', () => {})
  if (input !== null) child.stdin.end(input)
  let stdout = ''
  let stderr = ''
  child.stdout.setEncoding('utf8').on('data', text => {
    stdout += text
  })
  child.stderr.setEncoding('utf8').on('data', text => {
    stderr += text
  })
  const ended = once(child, 'close').then(([code, signal]) => ({ code, signal }))
  t.teardown(async () => {
    child.kill('SIGINT')
    await ended
  })
  const printed = async (pattern: RegExp) => {
    for (;;) {
      const match = pattern.exec(stdout)
      if (match !== null) return match
      const next = await Promise.race([once(child.stdout, 'data'), ended])
      if (!Array.isArray(next) && !pattern.test(stdout))
        throw new Error(`ended without printing ${pattern}:\n${stdout}\n${stderr}`)
    }
  }
  return { process: child, stdout: () => stdout, stderr: () => stderr, printed, ended }
}

/** Runs a command to its end. */
export async function runCommand(
  t: Test,
  args: readonly string[],
  environment?: NodeJS.ProcessEnv,
  input?: string | Uint8Array,
) {
  const command = startCommand(t, args, environment, input)
  const { code } = await command.ended
  return { code, stdout: command.stdout(), stderr: command.stderr() }
}
