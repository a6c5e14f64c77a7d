import type { Server } from 'node:http'
import type { FastifyHttpOptions, FastifyInstance } from 'fastify'
import { TokenvaultError } from '../../errors.ts'
import type { BadConnections } from './bad-connections.ts'
import { smallBodyBytes } from './bodies.ts'

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

/** Options of fastify that bound what a connection may cost. */
export function connectionOptions(
  bad: BadConnections,
  { headersMilliseconds, requestMilliseconds, silenceMilliseconds }: ClientTimeouts = usualTimeouts,
) {
  return {
    bodyLimit: smallBodyBytes,
    http: {
      headersTimeout: headersMilliseconds,
      // Node looks for overdue connections so often, and every 30 seconds by itself: too seldom for a limit of 10.
      connectionsCheckingInterval: Math.min(1000, headersMilliseconds / 4),
      // An access token of 16 KB, and as much again for everything else.
      maxHeaderSize: 32_768,
      // Node would answer without a problem: request-form.ts asks for it.
      requireHostHeader: false,
    },
    requestTimeout: requestMilliseconds,
    connectionTimeout: silenceMilliseconds,
    keepAliveTimeout: 65_000,
    forceCloseConnections: 'idle',
    return503OnClosing: false,
    clientErrorHandler: (error, socket) => bad.refuse(error, socket),
  } satisfies FastifyHttpOptions<Server>
}

/** Settings that only Node's server has. @param maxConnections open at once; further ones are closed as they come */
export function adjustServer(app: FastifyInstance, bad: BadConnections, maxConnections: number): void {
  bad.watch(app.server)
  app.server.maxConnections = maxConnections
  // Their bytes are bounded above. A bound on their number would hide the second of two Authorization headers.
  app.server.maxHeadersCount = 0
  // Node answers an expectation that it does not know with 417 and a bare reply; here it is ignored, as any may be.
  app.server.on('checkExpectation', (request, response) => app.routing(request, response))
  // Node would ask for the body before anybody looked at the access token.
  app.server.on('checkContinue', (request, response) => app.routing(request, response))
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
