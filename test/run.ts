import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import { runTap } from './helpers/run/tap.ts'

/**
 * `npm test`: type check, lint and the whole suite, ending with one plain line that says how many assertions passed
 * and failed. Arguments go to tap, e.g. `npm test -- test/crypto`.
 */
const checks = [
  ['tsc', '--noEmit'],
  ['biome', 'check', '--error-on-warnings'],
  ['redocly', 'lint', 'openapi/openapi.json'],
] as const

/** Beside one another: each alone leaves a core idle. */
const failed = await Promise.all(
  checks.map(async ([command, ...args]) => {
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] })
    const [output, errors, [status]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')])
    process.stdout.write(`# ${command} ${args.join(' ')}\n${output}${errors}`)
    return status === 0 ? [] : [command]
  }),
)
if (failed.flat().length > 0) {
  process.stdout.write(`${failed.flat().join(', ')} failed, so no test was run\n0 passed, 1 failed\n`)
  process.exit(1)
}
process.exit(await runTap(process.argv.slice(2)))
