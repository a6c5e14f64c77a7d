import type { Test } from 'tap'
import t from 'tap'
import { processLambdaBatch } from '../../../src/ingest/batch/process-batch.ts'
import { createTokenizeMessages } from '../../../src/ingest/batch/tokenize-messages.ts'
import { createMetricLine } from '../../../src/ingest/metrics/cloudwatch.ts'
import type { Observe } from '../../../src/ingest/metrics/observe.ts'
import { createIngestMetrics } from '../../../src/ingest/metrics/prometheus.ts'
import { createIngestStore } from '../../../src/store/ingest.ts'
import { createQuarantineStore } from '../../../src/store/quarantine.ts'
import { loginFields } from '../../../src/vault/fields/fields.ts'
import { createVaultDatabase } from '../../helpers/postgres/vault-database.ts'
import { loginEvent, received } from '../../helpers/queue/events.ts'
import { createFifoMemoryQueue } from '../../helpers/queue/fifo-memory-queue.ts'
import { createTestLog } from '../../helpers/queue/server.ts'
import { buildWorker, running } from '../../helpers/queue/worker.ts'
import { buildRedriver, quarantine } from '../../helpers/vault/quarantine.ts'

/** Logins, placeholders, what is not an event beside logins and alone, and a message that the database refuses. */
const bodies = [
  loginEvent(1),
  [loginEvent(2), loginEvent(3, { ip: '0.0.0.0' }), loginEvent(4, { ip: 'nowhere' })],
  [loginEvent(5, { ip: '::', device_id: 'unknown' }), {}, 7, loginEvent(6)],
  loginEvent(7, { device_id: 'N/A' }),
  { not: 'an event' },
  loginEvent(8, { user_id: 'refused' }),
].map(body => JSON.stringify(body))

/** What every path counts of them. */
const expected = {
  rows_stored_total: 6,
  duplicates_total: 0,
  'placeholders_total{field="ip"}': 2,
  'placeholders_total{field="device_id"}': 2,
  'quarantined_total{reason="ip_invalid"}': 1,
  'quarantined_total{reason="user_id_missing"}': 2,
  'quarantined_total{reason="event_not_object"}': 1,
  messages_unstorable_total: 1,
}

/** The counters that say what became of messages, by name and label; those at zero are left out. */
function createCounters() {
  const metrics = createIngestMetrics([...loginFields.values()])
  const read = async () => {
    const counts: Record<string, number> = {}
    for (const { name, values } of await metrics.snapshot()) {
      for (const { value, labels } of values) {
        const [label] = Object.entries(labels)
        const series = `${name.replace('tokenvault_ingest_', '')}${label ? `{${label[0]}="${label[1]}"}` : ''}`
        if (value > 0 || series in expected) counts[series] = value
      }
    }
    return counts
  }
  return { observe: metrics.observe, read }
}

async function build(t: Test) {
  const vault = await createVaultDatabase(t)
  const admin = await vault.connect()
  await admin.query(`ALTER TABLE user_logins ADD CONSTRAINT nobody CHECK (user_id <> 'refused')`)
  const tokenizeMessages = createTokenizeMessages(vault.tokenizer, vault.sealQuarantined)
  const store = createIngestStore(vault.database('tokenvault_worker', 2), loginFields)
  return { vault, tokenizeMessages, store }
}

t.test('a message counts alike through a standard queue, a FIFO queue, Lambda and out of the quarantine', async t => {
  const { vault, tokenizeMessages, store } = await build(t)
  const messages = bodies.map((body, n) => received(`lambda-${n}`, body, { sentAtMs: Date.now() }))
  const fifo = createFifoMemoryQueue()
  await fifo.send(bodies.map((body, n) => ({ body, groupId: `group-${n}` })))
  const line = createMetricLine('every-path')
  const paths: Readonly<Record<string, (observe: Observe) => Promise<unknown>>> = {
    'standard queue': async observe => {
      const { drain, send } = await buildWorker(t, { options: { tokenizeMessages, store, observe } })
      send(bodies)
      t.match(await drain(), { stored: 6, quarantined: 4, placeholders: 4, unstorable: 1, heldBack: 0 })
    },
    'FIFO queue': async observe => {
      const options = { tokenizeMessages, store, observe }
      const { drain } = await buildWorker(t, { options, queue: real => ({ ...real, ...fifo }) })
      t.match(await drain(), { stored: 6, quarantined: 4, placeholders: 4, unstorable: 1, heldBack: 0 })
    },
    Lambda: async observe => {
      const both: Observe = event => {
        observe(event)
        line.observe(event)
      }
      t.same(await processLambdaBatch(messages, { tokenizeMessages, store, log: createTestLog().log, observe: both }), [
        'lambda-5',
      ])
    },
  }
  for (const [path, take] of Object.entries(paths)) {
    const { observe, read } = createCounters()
    await take(observe)
    t.match(await read(), { ...expected, messages_received_total: 6, messages_released_total: 1 }, path)
  }
  t.match(JSON.parse(line.format(Date.now())), {
    messages_received: 6,
    rows_stored: 6,
    quarantined: 4,
    placeholders: 4,
    messages_failed: 1,
    messages_unstorable: 1,
    duplicates: 0,
  })

  const { observe, read } = createCounters()
  const entries = await quarantine(vault, bodies, { prefix: 'entry' })
  await createQuarantineStore(vault.database('tokenvault_api', 1)).requestRedrive(entries)
  const redriver = buildRedriver(vault)
  t.match(await redriver.drain(running()), { redriven: 4, rows: 6, quarantined: 3, placeholders: 4, returned: 2 })
  for (const event of redriver.told) observe(event)
  // What is not an event and stood alone is in the quarantine already, and goes back.
  t.match(await read(), {
    ...expected,
    'quarantined_total{reason="user_id_missing"}': 1,
    redriven_total: 4,
    redrives_returned_total: 2,
  })
})

t.test('what is delivered again counts as a duplicate and as nothing else', async t => {
  const { tokenizeMessages, store } = await build(t)
  const messages = bodies.slice(0, 5).map((body, n) => received(`again-${n}`, body, { sentAtMs: Date.now() }))
  const { log } = createTestLog()
  await processLambdaBatch(messages, { tokenizeMessages, store, log })
  const { observe, read } = createCounters()
  await processLambdaBatch(messages, { tokenizeMessages, store, log, observe })
  const nothing = Object.fromEntries(Object.keys(expected).map(name => [name, 0]))
  t.match(await read(), { ...nothing, messages_received_total: 5, duplicates_total: 5 })
})
