import { fork } from 'node:child_process'
import { once } from 'node:events'
import { pino } from 'pino'
import { createSqsQueue } from '../../src/queue/sqs-queue.ts'
import { createWorker } from '../../src/ingest/worker.ts'
import { freshTokenizer, loginEvent } from '../helpers/queue-events.ts'
import { createMemoryStore } from '../helpers/queue-memory-store.ts'
const child = fork('/tmp/fx.mjs')
const [{ port, queueUrl }] = (await once(child, 'message')) as any
const log = pino({ level: 'silent' })
const queue = createSqsQueue({ queueUrl, region: 'us-east-1', endpoint: `http://127.0.0.1:${port}`, credentials: { accessKeyId: 'a', secretAccessKey: 'b' }, log })
async function fill(n: number, per = 1) {
  for (let i = 0; i < n; i += 5000) {
    const bodies = Array.from({ length: Math.min(5000, n - i) }, (_, k) => JSON.stringify(per === 1 ? loginEvent(i + k) : Array.from({ length: per }, (_, j) => loginEvent((i + k) * per + j))))
    child.send({ fill: bodies }); await once(child, 'message')
  }
}
async function bare(n: number, receivers = 4) {
  await fill(n)
  const t0 = performance.now(); let got = 0
  await Promise.all(Array.from({ length: receivers }, async () => {
    while (got < n) { const m = await queue.receive({ waitSeconds: 1, visibilityTimeoutSeconds: 60 }); got += m.length; if (m.length) await queue.delete(m) }
  }))
  return n / (performance.now() - t0) * 1000
}
async function work(n: number, per = 1) {
  await fill(n, per)
  const store = createMemoryStore(); 
  const abort = new AbortController()
  const t0 = performance.now(); let t1 = 0; let rss = 0
  const worker = createWorker({ queue, tokenizer: freshTokenizer(), store, log, receivers: 4, batchMessages: 1000, batchMilliseconds: 250, visibilityTimeoutSeconds: 60,
    onBatch: t => { rss = Math.max(rss, process.memoryUsage.rss()); if (t.received >= n && t.stored >= n * per) { t1 = performance.now(); abort.abort() } } })
  const totals = await worker.run({ drain: false, signal: abort.signal })
  return { rate: n / (t1 - t0) * 1000, totals, rssMb: rss / 2 ** 20 }
}
console.log('warm', await bare(5000))
for (let i = 0; i < 3; i++) { console.log('bare', await bare(20000)); console.log('work', JSON.stringify(await work(20000))) }
console.log('work100', JSON.stringify(await work(2000, 100)))
child.kill(); queue.close()
