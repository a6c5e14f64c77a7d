import { spawnSync } from 'node:child_process'

/** `npm run test:fuzz`: 10,000 requests made from the OpenAPI document, or FUZZ_REQUESTS of them. FC_SEED makes the same again. */
const { status } = spawnSync('tap', ['--reporter=tap', '--timeout=1800', 'test/http/openapi-fuzz.test.ts'], {
  stdio: 'inherit',
  env: { FUZZ_REQUESTS: '10000', ...process.env },
})
process.exit(status ?? 1)
