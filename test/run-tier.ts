import { spawnSync } from 'node:child_process'
import { globSync, readFileSync } from 'node:fs'
import { runTap } from './helpers/run/tap.ts'

/**
 * `npm run test:<tier>`: tests that have a longer tier, at full length. Arguments after the tier's name are test files
 * instead of the tier's own.
 */
const tiers: Readonly<Record<string, { files: string[]; options: string[]; environment: NodeJS.ProcessEnv }>> = {
  /** FAULT_SEED repeats the choices of an earlier run. */
  faults: { files: ['test/faults'], options: ['--jobs=1', '--timeout=1900'], environment: { FAULTS: 'long' } },
  /** FUZZ_REQUESTS makes more or fewer; FC_SEED makes the same again. */
  fuzz: {
    files: ['test/http/openapi/fuzz.test.ts'],
    options: ['--timeout=1800'],
    environment: { FUZZ_REQUESTS: process.env['FUZZ_REQUESTS'] ?? '10000' },
  },
  evidence: {
    files: ['test/store/append-processes.test.ts'],
    options: ['--jobs=1', '--timeout=1900'],
    environment: { EVIDENCE: 'long' },
  },
}

const [name = '', ...asked] = process.argv.slice(2)
if (name === 'clone') process.exit(await runTap(lookingAtShared(), { TOKENVAULT_SHARED: 'none' }))
const { files, options, environment } = tiers[name]!
const { status } = spawnSync('tap', ['--reporter=tap', ...options, ...(asked.length > 0 ? asked : files)], {
  stdio: 'inherit',
  env: { ...process.env, ...environment },
})
process.exit(status ?? 1)

/** The test files that take something from the folder beside the checkout where it is there. */
function lookingAtShared(): string[] {
  const asks = /\b(realInput|needsSharedVectors)\b/
  return globSync('test/**/*.test.ts').filter(path => asks.test(readFileSync(path, 'utf8')))
}
