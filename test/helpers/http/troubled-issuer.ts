import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import type { JWK } from 'jose'
import type { Test } from 'tap'

/** Answers one fetch of the JWK Set, or does not. */
export type Answer = (response: ServerResponse, request: IncomingMessage) => void

/** An issuer that answers as the test says; ends with the test, whatever hangs. */
export interface TroubledIssuer {
  readonly url: string
  fetches(): number
  /** Bytes that went out on all of its connections. */
  bytesWritten(): number
  answerWith(answer: Answer): void
}

export const keySet =
  (...keys: readonly JWK[]): Answer =>
  response =>
    response.setHeader('content-type', 'application/jwk-set+json').end(JSON.stringify({ keys }))

export const body =
  (content: string | Uint8Array, headers: Record<string, string> = {}, status = 200): Answer =>
  response =>
    response.writeHead(status, headers).end(content)

/** Writes as long as the other side reads. */
export const endless =
  (chunk: string): Answer =>
  response => {
    const more = () => {
      while (!response.destroyed && response.write(chunk));
    }
    response.on('drain', more)
    more()
  }

/** One byte after the other, for ever. */
export const trickle: Answer = response => {
  const timer = setInterval(() => response.write(' '), 10)
  response.on('close', () => clearInterval(timer))
}

export async function startTroubledIssuer(t: Test, first: Answer): Promise<TroubledIssuer> {
  let answer = first
  let fetches = 0
  const sockets = new Set<Socket>()
  const server = createServer((request, response) => {
    fetches += 1
    response.on('error', () => undefined)
    answer(response, request)
  })
  server.on('connection', socket => sockets.add(socket))
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/jwks.json`,
    fetches: () => fetches,
    bytesWritten: () => [...sockets].reduce((total, socket) => total + socket.bytesWritten, 0),
    answerWith: next => {
      answer = next
    },
  }
}
