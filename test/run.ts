import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'

/**
 * `npm test`: type check, lint and the whole suite, ending with one plain line that says how many assertions passed
 * and failed. Arguments go to tap, e.g. `npm test -- test/crypto`.
 */
const checks = [
  ['tsc', '--noEmit'],
  ['biome', 'check', '--error-on-warnings'],
  ['redocly', 'lint', 'openapi/openapi.json'],
] as const

for (const [command, ...args] of checks) {
  process.stdout.write(`# ${command} ${args.join(' ')}\n`)
  if (spawnSync(command, args, { stdio: 'inherit' }).status !== 0) {
    process.stdout.write(`${command} failed, so no test was run\n0 passed, 1 failed\n`)
    process.exit(1)
  }
}

const tap = spawn('tap', ['--reporter=tap', ...process.argv.slice(2)], { stdio: ['inherit', 'pipe', 'inherit'] })
const ended = once(tap, 'close')
let counts = ''
let isDiagnosing = false
for await (const line of createInterface({ input: tap.stdout })) {
  // Of the whole report only what somebody reads: a line a file, failures with their diagnostics, skips with reasons, and
  // the seeds of the fault scenarios.
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
process.exit(status === 0 && failed === 0 && passed ? 0 : 1)
