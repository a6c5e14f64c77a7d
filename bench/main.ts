import { cpus } from 'node:os'
import { parseArgs } from 'node:util'
import { benchAuditSearch } from './audit-search.ts'
import { benchCore } from './core.ts'
import { benchDetokenize } from './detokenize.ts'
import { benchIngest } from './ingest.ts'
import { benchStore } from './store.ts'

/** Each benchmark by name, and what its figures mean. */
const benchmarks = new Map<
  string,
  { run: (options: { memory: boolean; large: boolean; events?: string }) => object | Promise<object>; unit: string }
>([
  [
    'core',
    {
      run: benchCore,
      unit: 'tokens/s, value text in, token text out (sealed…: with the original), 1,000 values a batch',
    },
  ],
  [
    'ingest',
    { run: benchIngest, unit: 'messages/s from queue to commit; peak resident size in MB (--memory: at 1,000,000)' },
  ],
  [
    'detokenize',
    {
      run: benchDetokenize,
      unit: 'requests/s, milliseconds, transactions/s, tokens/s (--large: at 10,000,000 originals)',
    },
  ],
  [
    'store',
    { run: benchStore, unit: 'values/s stored and answered, 10,000 a call; rows/s; values/s parsed and echoed' },
  ],
  [
    'audit-search',
    {
      run: benchAuditSearch,
      unit: 'events/s, MB, milliseconds of a page of 100, of 200,000 events (--events: of so many)',
    },
  ],
])

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    json: { type: 'boolean', default: false },
    memory: { type: 'boolean', default: false },
    large: { type: 'boolean', default: false },
    events: { type: 'string' },
  },
})
const name = positionals[0] ?? 'core'
const benchmark = benchmarks.get(name)
if (benchmark === undefined) {
  process.stderr.write(`no benchmark ${name}; there are: ${[...benchmarks.keys()].join(', ')}\n`)
  process.exit(2)
}
if (!values.json) {
  process.stdout.write(
    `${name}: ${benchmark.unit}\nNode ${process.version}, ${cpus().length} × ${cpus()[0]?.model ?? 'unknown'}\n`,
  )
}
const figures: Record<string, number> = { ...(await benchmark.run(values)) }
const rounded = Object.fromEntries(Object.entries(figures).map(([key, figure]) => [key, Number(figure.toPrecision(4))]))
if (values.json) process.stdout.write(`${JSON.stringify(rounded)}\n`)
else
  for (const [key, figure] of Object.entries(rounded))
    process.stdout.write(`${key.padEnd(20)}${figure.toLocaleString('en-US').padStart(14)}\n`)
