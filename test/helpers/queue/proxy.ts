import { type ProxyServer, startProxyServer } from '../http/proxy-server.ts'

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
export function startQueueProxy(target: string, intercept: Intercept): Promise<ProxyServer> {
  return startProxyServer(async ({ headers: given, body, response, signal }) => {
    const headers = {
      'content-type': 'application/x-amz-json-1.0',
      'x-amz-target': String(given['x-amz-target']),
      authorization: String(given.authorization),
    }
    const input = JSON.parse(body)
    const forward = async (changed: unknown = input) => {
      const reply = await fetch(target, { method: 'POST', headers, body: JSON.stringify(changed), signal })
      return reply.json()
    }
    const answer = await intercept({ action: headers['x-amz-target'].split('.')[1]!, input, forward })
    if (answer === 'hang') return
    response.setHeader('content-type', 'application/x-amz-json-1.0')
    if ('status' in answer) response.writeHead(answer.status).end(answer.body)
    else response.end(JSON.stringify(answer.output))
  })
}
