import { readFileSync } from 'node:fs'
import t from 'tap'
import { parse } from 'yaml'
import { serveMetrics } from '../../../src/cli/process/serve-metrics.ts'
import { TokenvaultError } from '../../../src/errors.ts'
import { type IngestEvent, startDepthWatch } from '../../../src/ingest/metrics/observe.ts'
import { createIngestMetrics, createSupervisorMetrics, formatMetrics } from '../../../src/ingest/metrics/prometheus.ts'
import { loginFields } from '../../../src/vault/fields/fields.ts'
import { loginBodies, poison } from '../../helpers/queue/events.ts'
import { createMemoryStore } from '../../helpers/queue/memory-store.ts'
import { createTestLog } from '../../helpers/queue/server.ts'
import { buildWorker, unavailable } from '../../helpers/queue/worker.ts'

const fields = [...loginFields.values()]

async function readMetrics(metrics: { snapshot: ReturnType<typeof createIngestMetrics>['snapshot'] }) {
  const text = await formatMetrics([await metrics.snapshot()])
  const value = (series: string) => {
    const line = text.split('\n').find(line => line.startsWith(`${series} `))
    return line === undefined ? undefined : Number(line.slice(series.length + 1))
  }
  return { text, value: (series: string) => value(`tokenvault_ingest_${series}`) }
}

t.test('what the worker does is counted, poison by its reason, and no label holds anything that came in', async t => {
  const metrics = createIngestMetrics(fields)
  const { drain, send } = await buildWorker(t, { options: { observe: metrics.observe } })
  send([...loginBodies(30), ...poison.map(({ body }) => body)])
  await drain()
  const { text, value } = await readMetrics(metrics)
  t.equal(value('messages_received_total'), 42)
  t.equal(value('rows_stored_total'), 30)
  t.equal(value('quarantined_total{reason="json_invalid"}'), 2)
  t.equal(value('quarantined_total{reason="ip_invalid"}'), 1)
  t.equal(value('batch_messages_sum'), 42)
  t.ok(value('tokenize_duration_seconds_count')! > 0)
  t.ok(value('commit_duration_seconds_count')! > 0)
  t.equal(value('oldest_message_age_seconds'), 0, 'the last receive found nothing')
  t.notMatch(text, 'canary')
})

t.test('each failure ends in a metric of its own', async t => {
  const metrics = createIngestMetrics(fields)
  let commits = 0
  const store = createMemoryStore(commit => {
    if (commits++ === 0) throw unavailable()
    return commit()
  })
  let receives = 0
  let undeleted = 0
  const observe = (event: IngestEvent) => {
    metrics.observe(event)
    if (event.kind === 'batch') undeleted += event.undeleted
  }
  const { drain, send } = await buildWorker(t, {
    store,
    options: { observe },
    intercept: async call => {
      if (call.action === 'ReceiveMessage' && receives++ === 0) return { status: 400, output: {} }
      if (call.action === 'DeleteMessageBatch') {
        const Failed = call.input.Entries.map(({ Id }: { Id: string }) => ({ Id, Code: 'InternalError' }))
        // Until one was given up; how often the message is in flight by then, nobody knows.
        return undeleted > 0 ? { output: await call.forward() } : { output: { Failed } }
      }
      return { output: await call.forward() }
    },
    attributes: { VisibilityTimeout: '1' },
    queue: real => ({ ...real, receive: asked => real.receive({ ...asked, visibilityTimeoutSeconds: 1 }) }),
  })
  send(loginBodies(1))
  await drain()
  const { value } = await readMetrics(metrics)
  t.equal(value('store_failures_total{code="store_unavailable"}'), 1)
  t.ok(value('queue_failures_total{operation="receive"}')! >= 1)
  t.ok(value('delete_failures_total')! >= 1)
  t.equal(value('rows_stored_total'), 1)
  t.ok(value('duplicates_total')! >= 1)
})

t.test('redrives are counted: what left the quarantine, what came back, what failed', async t => {
  const metrics = createIngestMetrics(fields)
  metrics.observe({
    kind: 'redriven',
    entries: 3,
    rows: 4,
    returned: 2,
    unstorable: 1,
    reasons: new Map([['ip_invalid', 1]]),
    placeholders: new Map([['device_id', 5]]),
  })
  metrics.observe({ kind: 'redrive_failed', code: 'store_refused' })
  const { value } = await readMetrics(metrics)
  t.equal(value('redriven_total'), 3)
  t.equal(value('rows_stored_total'), 4)
  t.equal(value('redrives_returned_total'), 2)
  t.equal(value('messages_unstorable_total'), 1)
  t.equal(value('quarantined_total{reason="ip_invalid"}'), 1)
  t.equal(value('placeholders_total{field="device_id"}'), 5)
  t.equal(value('redrive_failures_total{code="store_refused"}'), 1)
  t.equal(value('store_failures_total{code="store_refused"}'), 0, 'a metric of its own')
})

t.test(
  'failures that have not happened yet are there as zero, so that the first one is seen as an increase',
  async t => {
    const optional = { name: 'email', required: false }
    const { value } = await readMetrics(createIngestMetrics([...fields, optional]))
    for (const reason of [
      'json_invalid', 'array_empty', 'layers_too_many', 'payload_in_s3', 'rejects_many', 'event_not_object', 'name_repeated',
      'value_is_token', 'user_id_missing', 'user_id_invalid', 'user_id_too_long', 'ip_missing', 'ip_invalid', 'ip_too_long',
      'device_id_missing', 'device_id_invalid', 'device_id_too_long', 'email_invalid', 'email_too_long',
    ]) // biome-ignore format: one list
      t.equal(value(`quarantined_total{reason="${reason}"}`), 0, reason)
    t.equal(value('quarantined_total{reason="email_missing"}'), undefined, 'an optional field is never missing')
    for (const { name } of [...fields, optional]) t.equal(value(`placeholders_total{field="${name}"}`), 0, name)
    for (const operation of ['receive', 'extend', 'settle', 'depth'])
      t.equal(value(`queue_failures_total{operation="${operation}"}`), 0)
    t.equal(value('store_failures_total{code="store_unavailable"}'), 0)
    t.equal(value('redrive_failures_total{code="store_unavailable"}'), 0)
  },
)

t.test('the depth is what the queue says, and a queue that does not answer is counted', async t => {
  const metrics = createIngestMetrics(fields)
  const { log, logged } = createTestLog()
  const answers = [
    async () => ({ visible: 3, inFlight: 2, delayed: 1 }),
    async () => {
      throw new TokenvaultError('queue_unavailable', 'GetQueueAttributes: TimeoutError')
    },
  ]
  for (const depth of answers) {
    const { promise, resolve } = Promise.withResolvers<void>()
    const observe = (event: IngestEvent) => {
      metrics.observe(event)
      resolve()
    }
    const stop = startDepthWatch({ queue: { depth }, observe, log })
    await promise
    stop()
  }
  const { value } = await readMetrics(metrics)
  t.equal(value('queue_messages{state="visible"}'), 3)
  t.equal(value('queue_messages{state="in_flight"}'), 2)
  t.equal(value('queue_messages{state="delayed"}'), 1)
  t.equal(value('queue_failures_total{operation="depth"}'), 1)
  t.match(logged.join(''), 'depth_unknown')
})

t.test('the oldest message grows older while nothing is received', async t => {
  const metrics = createIngestMetrics(fields)
  metrics.observe({ kind: 'received', messages: 1, oldestSentAtMs: Date.now() - 90_000 })
  t.ok((await readMetrics(metrics)).value('oldest_message_age_seconds')! >= 90)
})

t.test('/metrics is all that the port serves', async t => {
  const { log, logged } = createTestLog()
  let fails = false
  const read = async () => {
    if (fails) throw new Error('canary')
    return [await createSupervisorMetrics().snapshot(), await createIngestMetrics(fields, 2).snapshot()]
  }
  t.teardown((await serveMetrics({ host: '127.0.0.1', port: 0, read, log })).close)
  const { port } = JSON.parse(logged.find(line => line.includes('metrics_listening'))!)
  const url = `http://127.0.0.1:${port}`
  const reply = await fetch(`${url}/metrics`)
  t.match(reply.headers.get('content-type'), 'text/plain; version=0.0.4')
  t.match(await reply.text(), 'tokenvault_ingest_rows_stored_total{worker="2"} 0')
  t.equal((await fetch(`${url}/`)).status, 404)
  t.equal((await fetch(`${url}/metrics`, { method: 'POST' })).status, 405)
  fails = true
  const failed = await fetch(`${url}/metrics`)
  t.strictSame([failed.status, await failed.text()], [500, ''])
  t.notMatch(logged.join(''), 'canary')
  await t.rejects(serveMetrics({ host: '127.0.0.1', port, read, log }), { code: 'port_unavailable' })
})

t.test('alert rules and dashboard name metrics that exist', async t => {
  const snapshots = [await createIngestMetrics(fields).snapshot(), await createSupervisorMetrics().snapshot()]
  const exposed = await formatMetrics(snapshots)
  const kinds = new Map([...exposed.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name, kind]) => [name!, kind!]))
  // What Prometheus adds to every series, and the one that has no sample before the queue has answered.
  const labels = new Set(['job', 'instance', 'state'])
  for (const [, label] of exposed.matchAll(/[{,](\w+)="/g)) labels.add(label!)
  const read = (path: string) => readFileSync(new URL(`../../../deploy/${path}`, import.meta.url), 'utf8')
  const rules = parse(read('alerts.yml')).groups.flatMap((group: { rules: object[] }) => group.rules)
  const panels = JSON.parse(read('dashboard.json')).panels
  t.ok(rules.length > 0 && panels.length > 0)
  const expressions: string[] = [
    ...rules.map((rule: { expr: string }) => rule.expr),
    ...panels.flatMap((panel: { targets: { expr: string }[] }) => panel.targets.map(({ expr }) => expr)),
  ]
  for (const expression of expressions) {
    const names = expression.match(/\b(tokenvault|process)_[a-z_]+\b/g) ?? []
    t.ok(names.length > 0, expression)
    for (const name of names) {
      const base = name.replace(/_(bucket|sum|count)$/, '')
      t.ok(kinds.has(name) || kinds.get(base) === 'histogram', name)
    }
    const grouped = [...expression.matchAll(/\bby \(([^)]+)\)/g)].flatMap(([, list]) => list!.split(/,\s*/))
    const selected = [...expression.matchAll(/[{,]\s*(\w+)\s*(?:=~?|!=|!~)/g)].map(([, label]) => label!)
    for (const label of [...grouped, ...selected]) t.ok(labels.has(label), `label ${label} of ${expression}`)
  }
  for (const rule of rules) t.match(rule, { alert: /^Tokenvault/, annotations: { summary: /./, description: /./ } })
})
