import { randomUUID } from 'node:crypto'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import { STATUS_CODES } from 'node:http'
import type { Duplex } from 'node:stream'
import { type ErrorCode, TokenvaultError } from '../../errors.ts'
import { describeProblem } from '../problems/problem.ts'
import { fixedHeaders, type RequestLog } from './replies.ts'

const codeOfParserError: ReadonlyMap<string, ErrorCode> = new Map([
  ['HPE_HEADER_OVERFLOW', 'headers_too_large'],
  ['HPE_CHUNK_EXTENSIONS_OVERFLOW', 'body_too_large'],
  ['ERR_HTTP_REQUEST_TIMEOUT', 'request_timeout'],
])

/** After such a reply, before the connection is cut whether or not the client closes it. */
const lingerMilliseconds = 500

/** Replies that each connection still owes, so that what follows a request cannot answer it. */
export class BadConnections {
  readonly #log: RequestLog
  readonly #open = new WeakMap<Duplex, Set<ServerResponse>>()

  constructor(log: RequestLog) {
    this.#log = log
  }

  /** Says at once, and then once a minute, that connections beyond the cap were closed: nothing else would tell. */
  #tellDropped(server: Server): void {
    let count = 0
    let quietUntil = 0
    server.on('drop', () => {
      count += 1
      if (performance.now() < quietUntil) return
      this.#log.error({ event: 'connections_dropped', count })
      count = 0
      quietUntil = performance.now() + 60_000
    })
  }

  /** Node's parser tells requests; those that expect something come by another event. */
  watch(server: Server): void {
    this.#tellDropped(server)
    for (const event of ['request', 'checkContinue', 'checkExpectation'] as const) {
      server.prependListener(event, (request: IncomingMessage, response: ServerResponse) => {
        const { socket } = request
        const open = this.#open.get(socket) ?? new Set()
        this.#open.set(socket, open.add(response))
        response.once('close', () => open.delete(response))
      })
    }
    // Authority-form: we are no proxy.
    server.on('connect', (_request: IncomingMessage, socket: Duplex) => {
      // Node listens no longer, and an error that nobody hears ends the process.
      socket.on('error', () => socket.destroy())
      this.#refuseBehindOpen(socket, 'request_malformed')
    })
  }

  /**
   * A request that is not HTTP, arrives too slowly or has too many header bytes is answered by a problem, as any other, and
   * the connection ends. Requests before it on the same connection get their own replies first, and then there is none for
   * this one: it would be taken for the reply to one of them.
   */
  refuse(error: Error & { readonly code?: string }, socket: Duplex): void {
    if (error.code === 'ECONNRESET' || !socket.writable) return void socket.destroy()
    this.#refuseBehindOpen(socket, codeOfParserError.get(error.code ?? '') ?? 'request_malformed')
  }

  #refuseBehindOpen(socket: Duplex, code: ErrorCode): void {
    const open = [...(this.#open.get(socket) ?? [])]
    const whole = open.filter(({ req }) => req.complete)
    if (whole.length > 0) {
      for (const response of whole) response.shouldKeepAlive = false
      return void whole.at(-1)!.once('close', () => socket.destroy())
    }
    // Refused already, before its body was there.
    if (open.some(({ headersSent }) => headersSent)) return void socket.destroy()
    this.#refuse(socket, code)
  }

  #refuse(socket: Duplex, code: ErrorCode): void {
    const requestId = randomUUID()
    const problem = describeProblem(new TokenvaultError(code), requestId)
    const { status } = problem
    const body = JSON.stringify(problem)
    const headers = {
      ...fixedHeaders,
      'cache-control': 'no-store',
      'content-type': 'application/problem+json',
      'content-length': Buffer.byteLength(body),
      'x-request-id': requestId,
      date: new Date().toUTCString(),
      connection: 'close',
    }
    const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}`)
    socket.end([`HTTP/1.1 ${status} ${STATUS_CODES[status]}`, ...lines, '', body].join('\r\n'))
    this.#log.info({ event: 'request', requestId, route: 'none', status, code })
    // A client that neither closes nor stops sending would keep its connection; one cut at once may not read the reply.
    setTimeout(() => socket.destroy(), lingerMilliseconds).unref()
  }
}
