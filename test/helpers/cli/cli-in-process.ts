import { run } from '../../../src/cli/program.ts'

/**
 * Runs a command in this process, with nothing but the given environment: starting one costs a second, which matters
 * where there are dozens. One at a time.
 */
export async function runInProcess(args: readonly string[], environment: NodeJS.ProcessEnv = {}) {
  const before = { env: process.env, exitCode: process.exitCode }
  const streams = [process.stdout, process.stderr] as const
  const writes = streams.map(stream => stream.write)
  const written = ['', '']
  process.env = { PATH: before.env['PATH'], ...environment }
  process.exitCode = 0
  for (const [place, stream] of streams.entries()) {
    stream.write = (text: string | Uint8Array) => {
      written[place] += String(text)
      return true
    }
  }
  try {
    await run([process.execPath, 'tokenvault', ...args])
    return { code: process.exitCode, stdout: written[0]!, stderr: written[1]! }
  } finally {
    for (const [place, stream] of streams.entries()) stream.write = writes[place]!
    process.env = before.env
    process.exitCode = before.exitCode
  }
}
