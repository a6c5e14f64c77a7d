import { GetQueueAttributesCommand, SQSClient } from '@aws-sdk/client-sqs'
import { AwsQueryProtocol } from '@aws-sdk/core/protocols'
import { type AwsSettings, awsClientConfig } from '../aws/client-settings.ts'
import { TokenvaultError } from '../errors.ts'
import type { QueueDepth } from '../ingest/ports.ts'

export type SqsProtocol = 'json' | 'query'

/** The endpoint is the queue URL's host in most cases; absent where the SDK must choose another host for the region, as with FIPS. */
export interface SqsClientOptions extends AwsSettings {
  readonly queueUrl: string
  /** AWS JSON 1.0 when absent; `query` is what SQS spoke before, and old emulators still do. */
  readonly protocol?: SqsProtocol | undefined
  /** Milliseconds that a call may take beyond its long poll; 10,000 when absent. */
  readonly callTimeoutMilliseconds?: number | undefined
}

/** Longest long poll that SQS knows. */
export const longestWaitSeconds = 20

// Receivers (64 at most), the deletes of several batches and the heartbeat must never queue for a socket.
const maxSockets = 256

/** An SDK client that cannot hang and that spends no time on what the connection guarantees anyway. */
export function createSqsClient(options: SqsClientOptions): SQSClient {
  const callTimeoutMilliseconds = options.callTimeoutMilliseconds ?? 10_000
  const isQuery = options.protocol === 'query'
  const client = new SQSClient({
    ...awsClientConfig(options, {
      connectMilliseconds: Math.min(5_000, callTimeoutMilliseconds),
      requestMilliseconds: callTimeoutMilliseconds,
      // It also sees a long poll as idle, so it is longer than the longest.
      idleMilliseconds: longestWaitSeconds * 1000 + callTimeoutMilliseconds,
      maxSockets,
    }),
    // Otherwise the SDK chooses between endpoint and queue URL by itself, and prefers the URL to what a profile says.
    useQueueUrlAsEndpoint: false,
    ...(isQuery ? { protocol: AwsQueryProtocol } : {}),
    // TLS and TCP protect the bytes. The check costs 40 % of the CPU of a receive, and one bad sum would throw away
    // the whole receive, nine good messages with it.
    md5: false,
    maxAttempts: 3,
    retryMode: 'standard',
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
