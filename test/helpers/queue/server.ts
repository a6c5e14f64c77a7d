import { type FauxqsServer, startFauxqs } from 'fauxqs'
import type { Test } from 'tap'
import { createLog, type Log } from '../../../src/log.ts'
import { createSqsQueue, type SqsQueue } from '../../../src/queue/sqs-queue.ts'
import { type Intercept, startQueueProxy } from './proxy.ts'

export interface QueueUnderTest {
  readonly server: FauxqsServer
  readonly queue: SqsQueue
  readonly queueUrl: string
  readonly log: Log
  /** Lines logged so far. */
  readonly logged: string[]
  /** Puts messages into the server without a call, which could be given up under load, and then be made twice. */
  send(bodies: readonly string[]): void
  /** Messages in the server, whatever their state. */
  count(): number
}

const credentials = { accessKeyId: 'test', secretAccessKey: 'test' }

/** A log that keeps its lines. */
export function createTestLog(): { log: Log; logged: string[] } {
  const logged: string[] = []
  return { logged, log: createLog('debug', { write: line => void logged.push(line) }) }
}

/**
 * A real SQS server in this process and our queue over it, both closed with the test.
 * @param options.intercept stands between the two, on the wire
 */
export async function startQueue(
  t: Test,
  options: {
    readonly intercept?: Intercept
    readonly attributes?: Record<string, string>
    readonly callTimeoutMilliseconds?: number
  } = {},
): Promise<QueueUnderTest> {
  const server = await startFauxqs({ port: 0, logger: false })
  const name = options.attributes?.['FifoQueue'] === 'true' ? 'logins.fifo' : 'logins'
  const { queueUrl } = server.createQueue(name, { attributes: options.attributes ?? {} })
  const direct = `http://127.0.0.1:${server.port}`
  const proxy = options.intercept && (await startQueueProxy(direct, options.intercept))
  const { log, logged } = createTestLog()
  const queue = createSqsQueue({
    queueUrl,
    region: 'us-east-1',
    endpoint: proxy?.endpoint ?? direct,
    credentials,
    log,
    callTimeoutMilliseconds: options.callTimeoutMilliseconds,
  })
  t.teardown(async () => {
    queue.close()
    await proxy?.close()
    await server.stop()
  })
  const count = () => {
    const { ready, delayed, inflight } = server.inspectQueue(name)!.messages
    return ready.length + delayed.length + inflight.length
  }
  const send = (bodies: readonly string[]) => {
    for (const body of bodies) server.sendMessage(name, body)
  }
  return { server, queue, queueUrl, log, logged, send, count }
}
