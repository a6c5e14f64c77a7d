import { spawnSync } from 'node:child_process'

/**
 * `npm run test:faults`: the long tier of test/faults, one scenario after the other. Arguments are scenario files;
 * FAULT_SEED repeats the choices of an earlier run.
 */
const files = process.argv.slice(2)
const args = ['--reporter=tap', '--jobs=1', '--timeout=1900', ...(files.length > 0 ? files : ['test/faults'])]
const { status } = spawnSync('tap', args, { stdio: 'inherit', env: { ...process.env, FAULTS: 'long' } })
process.exit(status ?? 1)
