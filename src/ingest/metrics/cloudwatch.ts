import type { IngestEvent, Observe } from './observe.ts'
import { sumOf } from './tally.ts'

/** The metrics of one Lambda event: nobody can scrape a function, but CloudWatch reads metrics out of its log. */
export interface MetricLine {
  readonly observe: Observe
  /** One line of JSON. @param nowMs milliseconds since 1970 */
  format(nowMs: number): string
}

const units = {
  messages_received: 'Count',
  rows_stored: 'Count',
  duplicates: 'Count',
  quarantined: 'Count',
  /** Values for which null was stored. */
  placeholders: 'Count',
  /** Come again by `batchItemFailures`, or with the whole event. */
  messages_failed: 'Count',
  messages_unstorable: 'Count',
  store_failures: 'Count',
  /** Of these: those that time mends, and those that only an operator mends. No message is to blame for either. */
  store_unavailable: 'Count',
  store_misconfigured: 'Count',
  /** The event failed as a whole. */
  batch_failures: 'Count',
  batch_duration_seconds: 'Seconds',
} as const

/**
 * Counts one event and writes it in CloudWatch's embedded metric format, under the worker's names. Every metric stands in
 * every line: an alarm on one that has never been written has no data to look at.
 *
 * @param functionName the only dimension: each further value would be a metric that is paid for
 * @see https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
 */
export function createMetricLine(functionName: string): MetricLine {
  const values = Object.fromEntries(Object.keys(units).map(name => [name, 0])) as Record<keyof typeof units, number>
  const observe = (event: IngestEvent) => {
    if (event.kind === 'received') values.messages_received += event.messages
    if (event.kind === 'store_failed') {
      values.store_failures++
      if (event.code === 'store_unavailable') values.store_unavailable++
      if (event.code === 'store_misconfigured') values.store_misconfigured++
    }
    if (event.kind === 'batch_failed') values.batch_failures++
    if (event.kind !== 'batch') return
    values.rows_stored += event.rows
    values.duplicates += event.duplicates
    values.messages_failed += event.released
    values.messages_unstorable += event.unstorable
    values.batch_duration_seconds += event.seconds
    values.quarantined += sumOf(event.reasons)
    values.placeholders += sumOf(event.placeholders)
  }
  const metrics = Object.entries(units).map(([Name, Unit]) => ({ Name, Unit }))
  return {
    observe,
    format(nowMs) {
      const directive = { Namespace: 'tokenvault', Dimensions: [['function']], Metrics: metrics }
      const metadata = { Timestamp: nowMs, CloudWatchMetrics: [directive] }
      return `${JSON.stringify({ _aws: metadata, function: functionName, ...values })}\n`
    },
  }
}
