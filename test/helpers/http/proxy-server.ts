import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface ProxyServer {
  readonly endpoint: string
  close(): Promise<void>
}

/** One request on the wire; where `signal` is aborted its client is gone, and what was forwarded for it goes with it. */
export interface ProxyRequest {
  readonly headers: IncomingMessage['headers']
  readonly body: string
  readonly response: ServerResponse
  readonly signal: AbortSignal
}

/** An HTTP server before a queue server. What fails in `answer` cuts the connection. */
export async function startProxyServer(answer: (request: ProxyRequest) => Promise<void>): Promise<ProxyServer> {
  const read = async (request: IncomingMessage, response: ServerResponse, signal: AbortSignal) => {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk)
    await answer({ headers: request.headers, body: Buffer.concat(chunks).toString(), response, signal })
  }
  const server = createServer((request, response) => {
    const gone = new AbortController()
    response.on('close', () => gone.abort())
    read(request, response, gone.signal).catch(() => response.destroy())
  })
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
