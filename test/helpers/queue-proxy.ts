import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

/** One SQS call on the wire. */
export interface QueueCall {
  /** `DeleteMessageBatch` … */
  readonly action: string
  // biome-ignore lint/suspicious/noExplicitAny: whatever JSON the SDK sent
  readonly input: any
  /** Asks the real server. */
  // biome-ignore lint/suspicious/noExplicitAny: whatever JSON the server answers
  forward(input?: unknown): Promise<any>
}

/** The JSON to answer, or an HTTP status with a body, or a socket that never answers. */
export type Answer = { readonly output: unknown } | { readonly status: number; readonly body: string } | 'hang'

export type Intercept = (call: QueueCall) => Answer | Promise<Answer>

/** An HTTP server before the queue server that may change what passes. */
export async function startQueueProxy(
  target: string,
  intercept: Intercept,
): Promise<{ endpoint: string; close(): Promise<void> }> {
  const server = createServer((request, response) => {
    // A client that goes away takes its forwarded call with it.
    const gone = new AbortController()
    response.on('close', () => gone.abort())
    pass(request, response, gone.signal).catch(() => response.destroy())
  })
  const pass = async (request: IncomingMessage, response: ServerResponse, signal: AbortSignal) => {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk)
    const headers = {
      'content-type': 'application/x-amz-json-1.0',
      'x-amz-target': String(request.headers['x-amz-target']),
      authorization: String(request.headers.authorization),
    }
    const input = JSON.parse(Buffer.concat(chunks).toString())
    const forward = async (changed: unknown = input) => {
      const reply = await fetch(target, { method: 'POST', headers, body: JSON.stringify(changed), signal })
      return reply.json()
    }
    const answer = await intercept({ action: headers['x-amz-target'].split('.')[1]!, input, forward })
    if (answer === 'hang') return
    response.setHeader('content-type', 'application/x-amz-json-1.0')
    if ('status' in answer) response.writeHead(answer.status).end(answer.body)
    else response.end(JSON.stringify(answer.output))
  }
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async close() {
      server.close()
      server.closeAllConnections()
      await once(server, 'close')
    },
  }
}
