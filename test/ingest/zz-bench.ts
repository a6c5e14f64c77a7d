import { fork } from 'node:child_process'
import { once } from 'node:events'
import { pino } from 'pino'
import { createSqsQueue } from '../../src/queue/sqs-queue.ts'
import { createWorker } from '../../src/ingest/worker.ts'
import { freshTokenizer, loginEvent } from '../helpers/queue-events.ts'
const child = fork('/tmp/fx.mjs'); await once(child, 'message')
const log = pino({ level: 'silent' })
let serial = 0
async function fresh() {
  child.send({ fresh: `q${serial++}` })
  const [{ port, queueUrl }] = (await once(child, 'message')) as any
  return createSqsQueue({ queueUrl, region: 'us-east-1', endpoint: `http://127.0.0.1:${port}`, credentials: { accessKeyId: 'a', secretAccessKey: 'b' }, log })
}
async function fill(n: number, per = 1) {
  for (let i = 0; i < n; i += 5000) {
    const bodies = Array.from({ length: Math.min(5000, n - i) }, (_, k) => JSON.stringify(per === 1 ? loginEvent(i + k) : Array.from({ length: per }, (_, j) => loginEvent((i + k) * per + j))))
    child.send({ fill: bodies }); await once(child, 'message')
  }
}
async function bare(n: number, receivers = 4) {
  const queue = await fresh(); await fill(n)
  const t0 = performance.now(); let got = 0, t1 = 0
  await Promise.all(Array.from({ length: receivers }, async () => {
    while (got < n) { const m = await queue.receive({ waitSeconds: 1, visibilityTimeoutSeconds: 60 }); got += m.length; if (m.length) await queue.delete(m); if (got >= n) t1 ||= performance.now() }
  }))
  queue.close()
  return `${Math.round(n / (t1 - t0) * 1000)} rss ${process.memoryUsage.rss() / 2**20 | 0} heap ${process.memoryUsage().heapUsed / 2**20 | 0} ab ${process.memoryUsage().arrayBuffers / 2**20 | 0}`
}
async function work(n: number, per = 1) {
  const queue = await fresh(); await fill(n, per)
  const abort = new AbortController()
  const t0 = performance.now(); let t1 = 0; let rss = 0
  const seen = new Set<string>()
  const worker = createWorker({ queue, tokenizer: freshTokenizer(), store: { async storeEffects(e) { let rows = 0; for (const x of e) rows += x.rows.length; return { rows, quarantined: 0, duplicates: 0 } } }, log, receivers: 4, batchMessages: 1000, batchMilliseconds: 250, visibilityTimeoutSeconds: 60,
    onBatch: t => { rss = Math.max(rss, process.memoryUsage.rss()); if (t.stored >= n * per) { t1 = performance.now(); abort.abort() } } })
  const totals = await worker.run({ drain: false, signal: abort.signal })
  queue.close()
  return { rate: Math.round(n / (t1 - t0) * 1000), batches: totals.batches, rssMb: Math.round(rss / 2 ** 20) }
}
const N = Number(process.argv[2] ?? 20000)
await bare(5000)
for (let i = 0; i < 4; i++) { console.log('bare', await bare(N)); console.log('work', JSON.stringify(await work(N))) }
console.log('work100', JSON.stringify(await work(2000, 100)))
child.kill()
