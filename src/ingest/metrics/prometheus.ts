import { Counter, Gauge, Histogram, Registry } from '@prometheus-io/client'
import { type EventField, rejectReasons } from '../events/login-event.ts'
import type { Observe, QueueOperation } from './observe.ts'
import type { Tally } from './tally.ts'

/** The media type of `formatMetrics`. */
export const metricsContentType = Registry.PROMETHEUS_CONTENT_TYPE

/** The values of one process at one moment; it can be sent to another process. */
export type MetricsSnapshot = Awaited<ReturnType<Registry['getMetricsAsJSON']>>

export interface IngestMetrics {
  readonly observe: Observe
  snapshot(): Promise<MetricsSnapshot>
}

/** Prometheus text format 0.0.4 of all snapshots together. */
export function formatMetrics(snapshots: readonly MetricsSnapshot[]): Promise<string> {
  return Registry.aggregate([...snapshots]).metrics()
}

const prefix = 'tokenvault_ingest_'
const durationBuckets = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60]
const batchBuckets = [1, 10, 50, 100, 250, 500, 1000, 2500, 5000, 10_000]
const operations: readonly QueueOperation[] = ['receive', 'extend', 'settle', 'depth']

/**
 * The worker's metrics. Label values are words of ours (reasons, codes, fields, operations, states): nothing that came in can
 * become one, so they are few, and none holds PII.
 *
 * @param fields those that are configured
 * @param worker number of the process among those of one supervisor, as a label: a process that starts anew then resets
 *   series of its own, which Prometheus understands; a sum over processes would only seem to fall
 */
export function createIngestMetrics(fields: readonly EventField[], worker?: number): IngestMetrics {
  const registry = new Registry()
  if (worker !== undefined) registry.setDefaultLabels({ worker: String(worker) })
  return { observe: createObserve(registerSeries(registry, fields)), snapshot: () => registry.getMetricsAsJSON() }
}

function registerSeries(registry: Registry, fields: readonly EventField[]) {
  const common = (name: string, help: string) => ({ name: prefix + name, help, registers: [registry] })
  const counter = (name: string, help: string) => new Counter(common(name, help))
  const labelled = (name: string, help: string, label: string, values: readonly string[]) => {
    const made = new Counter<string>({ ...common(name, help), labelNames: [label] })
    // A series that begins at its first failure hides that failure from increase().
    for (const value of values) made.inc({ [label]: value }, 0)
    return made
  }
  const histogram = (name: string, help: string, buckets: number[]) => new Histogram({ ...common(name, help), buckets })
  const storeCodes = ['store_unavailable', 'store_misconfigured', 'store_refused', 'internal']
  return {
    received: counter('messages_received_total', 'Deliveries received from the queue'),
    stored: counter('rows_stored_total', 'Rows committed to user_logins'),
    duplicates: counter('duplicates_total', 'Deliveries whose message had taken effect before'),
    quarantined: labelled('quarantined_total', 'Events committed to the quarantine', 'reason', rejectReasons(fields)),
    placeholders: labelled(
      'placeholders_total',
      'Values that are placeholders, for which null was stored',
      'field',
      fields.map(({ name }) => name),
    ),
    redriven: counter('redriven_total', 'Quarantined entries that a redrive took out of the quarantine'),
    returned: counter('redrives_returned_total', 'Quarantined entries that were tried again and are still no event'),
    released: counter('messages_released_total', 'Deliveries given back to the queue without effect'),
    undeleted: counter('delete_failures_total', 'Messages that took effect and could not be deleted; they come again'),
    unstorable: counter(
      'messages_unstorable_total',
      'Messages, or redriven entries, that the store refuses even alone',
    ),
    batchFailures: counter('batch_failures_total', 'Batches ended by a fault of tokenvault'),
    queueFailures: labelled('queue_failures_total', 'Failed calls to the queue', 'operation', operations),
    storeFailures: labelled('store_failures_total', 'Commits that failed, by error code', 'code', storeCodes),
    redriveFailures: labelled('redrive_failures_total', 'Redrives that failed, by error code', 'code', storeCodes),
    batchMessages: histogram('batch_messages', 'Deliveries in a batch', batchBuckets),
    batchSeconds: histogram('batch_duration_seconds', 'From taking a batch to having settled it', durationBuckets),
    tokenizeSeconds: histogram('tokenize_duration_seconds', 'Parsing, tokenizing and sealing', durationBuckets),
    commitSeconds: histogram('commit_duration_seconds', 'One transaction with all effects', durationBuckets),
    ...registerGauges(registry),
  }
}

function registerGauges(registry: Registry) {
  const registers = [registry]
  const depth = new Gauge({
    name: `${prefix}queue_messages`,
    help: 'Messages in the queue as it counts them, approximately',
    labelNames: ['state'],
    registers,
  })
  /** Of the latest receive; undefined after one that gave nothing. */
  const oldest: { sentAtMs?: number | undefined } = {}
  new Gauge({
    name: `${prefix}oldest_message_age_seconds`,
    help: 'Age of the oldest message of the latest receive; 0 after an empty one',
    registers,
    collect() {
      // While nothing is received it goes on growing, as what waits in the queue does.
      this.set(oldest.sentAtMs === undefined ? 0 : Math.max(0, (Date.now() - oldest.sentAtMs) / 1000))
    },
  })
  new Gauge({
    name: 'process_resident_memory_bytes',
    help: 'Resident memory size in bytes',
    registers,
    collect() {
      this.set(process.memoryUsage.rss())
    },
  })
  return { depth, oldest }
}

function createObserve(series: ReturnType<typeof registerSeries>): Observe {
  const count = ({ rows, reasons, placeholders }: Tally) => {
    series.stored.inc(rows)
    for (const [reason, events] of reasons) series.quarantined.inc({ reason }, events)
    for (const [field, values] of placeholders) series.placeholders.inc({ field }, values)
  }
  return event => {
    switch (event.kind) {
      case 'received':
        series.received.inc(event.messages)
        series.oldest.sentAtMs = event.oldestSentAtMs
        break
      case 'received_none':
        series.oldest.sentAtMs = undefined
        break
      case 'queue_failed':
        series.queueFailures.inc({ operation: event.operation })
        break
      case 'tokenized':
        series.tokenizeSeconds.observe(event.seconds)
        break
      case 'committed':
        series.commitSeconds.observe(event.seconds)
        break
      case 'store_failed':
        series.storeFailures.inc({ code: event.code })
        break
      case 'batch':
        series.batchMessages.observe(event.messages)
        series.batchSeconds.observe(event.seconds)
        count(event)
        series.duplicates.inc(event.duplicates)
        series.released.inc(event.released)
        series.undeleted.inc(event.undeleted)
        series.unstorable.inc(event.unstorable)
        break
      case 'redriven':
        series.redriven.inc(event.entries)
        count(event)
        series.returned.inc(event.returned)
        series.unstorable.inc(event.unstorable)
        break
      case 'redrive_failed':
        series.redriveFailures.inc({ code: event.code })
        break
      case 'batch_failed':
        series.batchFailures.inc()
        break
      case 'depth':
        series.depth.set({ state: 'visible' }, event.visible)
        series.depth.set({ state: 'in_flight' }, event.inFlight)
        series.depth.set({ state: 'delayed' }, event.delayed)
        break
    }
  }
}

/** What a supervisor counts of its worker processes. */
export interface SupervisorMetrics {
  running(processes: number): void
  restarted(): void
  snapshot(): Promise<MetricsSnapshot>
}

export function createSupervisorMetrics(): SupervisorMetrics {
  const registry = new Registry()
  const registers = [registry]
  const help = 'Worker processes that run'
  const processes = new Gauge({ name: `${prefix}worker_processes`, help, registers })
  const restarts = new Counter({
    name: `${prefix}worker_restarts_total`,
    help: 'Worker processes that ended unasked and were started anew',
    registers,
  })
  return {
    running: count => processes.set(count),
    restarted: () => restarts.inc(),
    snapshot: () => registry.getMetricsAsJSON(),
  }
}
