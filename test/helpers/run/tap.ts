import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'

/** Where Node keeps what it compiled: hundreds of test processes and commands load the same modules. */
export const compileCache = join(import.meta.dirname, '../../../.tap/compiled')

/**
 * Runs tap and prints of its report what somebody reads: a line a file, failures with their diagnostics, skips with reasons,
 * and the seeds of the fault scenarios. Ends with one plain line that says how many assertions passed and failed.
 *
 * @param args files, folders and options
 * @returns the exit code: 0 where something ran and nothing failed
 */
export async function runTap(args: readonly string[], environment: NodeJS.ProcessEnv = {}): Promise<number> {
  const tap = spawn('tap', ['--reporter=tap', ...args], {
    stdio: ['inherit', 'pipe', 'inherit'],
    env: { NODE_COMPILE_CACHE: compileCache, ...process.env, ...environment },
  })
  const ended = once(tap, 'close')
  let counts = ''
  let isDiagnosing = false
  for await (const line of createInterface({ input: tap.stdout })) {
    const isFailure: boolean = /^\s*not ok /.test(line)
    const isDiagnosis: boolean = isDiagnosing && /^\s+/.test(line)
    if (isFailure || isDiagnosis || /^ok /.test(line) || /# SKIP|^\s*ok .*FAULT_SEED=/.test(line))
      process.stdout.write(`${line}\n`)
    isDiagnosing = isFailure || (isDiagnosis && line.trim() !== '...')
    if (/^# \{ total: /.test(line)) counts = line
  }
  const [status] = await ended
  const [passed, failed, skipped] = ['pass', 'fail', 'skip'].map(name =>
    Number(new RegExp(`${name}: (\\d+)`).exec(counts)?.[1] ?? 0),
  )
  process.stdout.write(`${passed} passed, ${failed} failed${skipped ? `, ${skipped} skipped` : ''}\n`)
  return status === 0 && failed === 0 && passed ? 0 : 1
}
