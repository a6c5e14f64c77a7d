import { spawnSync } from 'node:child_process'

/** `npm run test:evidence`: the tests of evidence that have a long tier, at full length. Arguments are other test files. */
const files = process.argv.slice(2)
const longTiers = ['test/store/append-processes.test.ts']
const args = ['--reporter=tap', '--jobs=1', '--timeout=1900', ...(files.length > 0 ? files : longTiers)]
const { status } = spawnSync('tap', args, { stdio: 'inherit', env: { ...process.env, EVIDENCE: 'long' } })
process.exit(status ?? 1)
