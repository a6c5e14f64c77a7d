import type { Server } from 'node:http'
import type { Socket } from 'node:net'
import type { FastifyHttpOptions, FastifyInstance } from 'fastify'
import { TokenvaultError } from '../../errors.ts'

/** How long clients may take, in milliseconds. Tests are less patient. */
export interface ClientTimeouts {
  /** For all headers of a request, from the first byte of the connection or the end of the request before. */
  readonly headersMilliseconds: number
  /** For headers and body, however steadily they trickle in. */
  readonly requestMilliseconds: number
  /** Without a byte in either direction, such as by a client that does not read its reply. */
  readonly silenceMilliseconds: number
}

const usualTimeouts: ClientTimeouts = {
  headersMilliseconds: 10_000,
  requestMilliseconds: 30_000,
  silenceMilliseconds: 60_000,
}

/** 4 MiB: 10,001 tokens of the longest kind fit, so that a batch too large is refused by that name. */
const bodyLimitBytes = 4 * 1024 * 1024

/** After a reply to what is hardly HTTP, before the connection is cut whether or not the client closes it. */
const lingerMilliseconds = 500

/** Options of fastify that bound what a connection may cost. */
export function connectionOptions({
  headersMilliseconds,
  requestMilliseconds,
  silenceMilliseconds,
}: ClientTimeouts = usualTimeouts) {
  return {
    bodyLimit: bodyLimitBytes,
    http: {
      headersTimeout: headersMilliseconds,
      // Node looks for overdue connections so often, and every 30 seconds by itself: too seldom for a limit of 10.
      connectionsCheckingInterval: Math.min(1000, headersMilliseconds / 4),
      // An access token of 16 KB, and as much again for everything else.
      maxHeaderSize: 32_768,
    },
    requestTimeout: requestMilliseconds,
    connectionTimeout: silenceMilliseconds,
    keepAliveTimeout: 65_000,
    forceCloseConnections: 'idle',
    return503OnClosing: false,
    clientErrorHandler: refuseConnection,
  } satisfies FastifyHttpOptions<Server>
}

/** Settings that only Node's server has. */
export function adjustServer(app: FastifyInstance): void {
  // Their bytes are bounded above. A bound on their number would hide the second of two Authorization headers.
  app.server.maxHeadersCount = 0
  // Node answers an expectation that it does not know with 417 and a bare reply; here it is ignored, as any may be.
  app.server.on('checkExpectation', (request, response) => app.routing(request, response))
}

/**
 * @returns the port listened on
 * @throws TokenvaultError `port_unavailable`
 */
export async function listen(app: FastifyInstance, { host, port }: { host: string; port: number }): Promise<number> {
  try {
    await app.listen({ host, port })
  } catch (cause) {
    throw new TokenvaultError('port_unavailable', `cannot listen on port ${port} of ${host}`, { cause })
  }
  const [address] = app.addresses()
  if (typeof address !== 'object') throw new TokenvaultError('port_unavailable')
  return address.port
}

/** A request that is not HTTP, arrives too slowly or has too many header bytes gets a status and no body. */
function refuseConnection(error: Error & { code?: string }, socket: Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable) return void socket.destroy()
  const status =
    error.code === 'HPE_HEADER_OVERFLOW'
      ? '431 Request Header Fields Too Large'
      : error.code === 'ERR_HTTP_REQUEST_TIMEOUT'
        ? '408 Request Timeout'
        : '400 Bad Request'
  socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`)
  // A client that neither closes nor stops sending would keep its connection; one cut at once may not read the status.
  setTimeout(() => socket.destroy(), lingerMilliseconds).unref()
}
