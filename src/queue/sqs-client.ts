import { GetQueueAttributesCommand, SQSClient } from '@aws-sdk/client-sqs'
import { AwsQueryProtocol } from '@aws-sdk/core/protocols'
import { TokenvaultError } from '../errors.ts'
import type { QueueDepth } from '../ingest/ports.ts'

/** Static credentials; emulators accept any. */
export interface QueueCredentials {
  readonly accessKeyId: string
  readonly secretAccessKey: string
  readonly sessionToken?: string
}

export type SqsProtocol = 'json' | 'query'

export interface SqsClientOptions {
  readonly queueUrl: string
  readonly region: string
  /** Where to call instead of the queue URL's own host, for emulators. */
  readonly endpoint?: string | undefined
  /** The SDK's default provider chain when absent. */
  readonly credentials?: QueueCredentials | undefined
  /** AWS JSON 1.0 when absent; `query` is what SQS spoke before, and old emulators still do. */
  readonly protocol?: SqsProtocol | undefined
  /** Milliseconds that a call may take beyond its long poll; 10,000 when absent. */
  readonly callTimeoutMilliseconds?: number | undefined
}

/** Longest long poll that SQS knows. */
export const longestWaitSeconds = 20

// Receivers (64 at most), the deletes of several batches and the heartbeat must never queue for a socket.
const maxSockets = 256

// Without a logger of its own the SDK's HTTP handler writes its warnings to the console.
const silent = { trace() {}, debug() {}, info() {}, warn() {}, error() {} }

/** An SDK client that cannot hang and that spends no time on what the connection guarantees anyway. */
export function createSqsClient(options: SqsClientOptions): SQSClient {
  const callTimeoutMilliseconds = options.callTimeoutMilliseconds ?? 10_000
  const isQuery = options.protocol === 'query'
  const client = new SQSClient({
    region: options.region,
    // The queue URL's host is where the queue is, on AWS too (FIPS and VPC endpoints have hosts of their own). Always
    // saying so keeps the SDK from choosing between the two and from warning about it on the console.
    endpoint: options.endpoint ?? new URL(options.queueUrl).origin,
    useFipsEndpoint: false,
    useDualstackEndpoint: false,
    ...(isQuery ? { protocol: AwsQueryProtocol } : {}),
    ...(options.credentials === undefined ? {} : { credentials: options.credentials }),
    // TLS and TCP protect the bytes. The check costs 40 % of the CPU of a receive, and one bad sum would throw away
    // the whole receive, nine good messages with it.
    md5: false,
    maxAttempts: 3,
    retryMode: 'standard',
    requestHandler: {
      connectionTimeout: Math.min(5_000, callTimeoutMilliseconds),
      requestTimeout: callTimeoutMilliseconds,
      // Otherwise requestTimeout only warns, and a hung socket hangs the worker.
      throwOnRequestTimeout: true,
      // requestTimeout ends with the reply's headers; this one catches a body that never comes. It also sees a
      // long poll as idle, so it is longer than the longest.
      socketTimeout: longestWaitSeconds * 1000 + callTimeoutMilliseconds,
      httpAgent: { keepAlive: true, maxSockets },
      httpsAgent: { keepAlive: true, maxSockets },
      logger: silent,
    },
  })
  if (isQuery) {
    client.middlewareStack.add(next => args => next({ ...args, input: withOlderName(args.input) }), {
      step: 'initialize',
    })
  }
  return client
}

/** `MessageSystemAttributeNames` is younger than JSON: what speaks Query only would ignore it, and give no attributes. */
function withOlderName<Input extends object>(input: Input): Input {
  if (!('MessageSystemAttributeNames' in input)) return input
  const { MessageSystemAttributeNames: names, ...rest } = input
  // Only one command has this property, and that command has the other property too.
  return { ...rest, AttributeNames: names } as unknown as Input
}

/**
 * Translates whatever the SDK threw. Only a short identifier survives: SDK messages quote the reply, and a reply that
 * does not parse is quoted with message bodies in it. No `cause` is kept for the same reason.
 *
 * @param operation name of the SQS action, e.g. `ReceiveMessage`
 * @returns TokenvaultError `queue_unavailable`, detail `<operation>: <error code or name>`
 */
export function queueError(operation: string, error: unknown): TokenvaultError {
  if (error instanceof TokenvaultError) return error
  return new TokenvaultError('queue_unavailable', `${operation}: ${identify(error)}`)
}

/** The identifier of an error, as SQS or Node names it; never its text. */
export function identify(error: unknown): string {
  if (!(error instanceof Error)) return 'UnknownError'
  const code: unknown = 'code' in error ? error.code : undefined
  // A refused connection is a plain Error whose code says everything; a service exception carries its name.
  return asIdentifier(error.name === 'Error' || error.name === 'AggregateError' ? code : error.name) ?? 'UnknownError'
}

/** Names come from the server's reply, so only what looks like an identifier passes. */
export function asIdentifier(name: unknown): string | undefined {
  return typeof name === 'string' && /^[A-Za-z][A-Za-z0-9_.]{0,63}$/.test(name) ? name : undefined
}

/** Approximate counts, as SQS gives them. @throws TokenvaultError `queue_unavailable` */
export async function readDepth(client: SQSClient, queueUrl: string): Promise<QueueDepth> {
  try {
    const { Attributes: attributes = {} } = await client.send(
      new GetQueueAttributesCommand({
        QueueUrl: queueUrl,
        AttributeNames: [
          'ApproximateNumberOfMessages',
          'ApproximateNumberOfMessagesNotVisible',
          'ApproximateNumberOfMessagesDelayed',
        ],
      }),
    )
    return {
      visible: Number(attributes.ApproximateNumberOfMessages ?? 0),
      inFlight: Number(attributes.ApproximateNumberOfMessagesNotVisible ?? 0),
      delayed: Number(attributes.ApproximateNumberOfMessagesDelayed ?? 0),
    }
  } catch (error) {
    throw queueError('GetQueueAttributes', error)
  }
}
