import { randomUUID } from 'node:crypto'
import type { Socket } from 'node:net'
import Fastify, { type FastifyInstance } from 'fastify'
import { createItemGate } from '../concurrency/batch-semaphore.ts'
import type { ApprovalVerbs } from '../vault/admission/approvals.ts'
import type { HealthCheck, IdempotencyStore } from '../vault/admission/ports.ts'
import type { SuspensionVerbs } from '../vault/admission/suspensions.ts'
import type { EvidenceVerbs } from '../vault/evidence/proofs.ts'
import type { SearchAudit } from '../vault/evidence/search.ts'
import type { QuarantineVerbs } from '../vault/quarantine/verbs.ts'
import type { Detokenize } from '../vault/tokens/detokenize.ts'
import type { Tokenize } from '../vault/tokens/tokenize.ts'
import { decideApprovalRoute } from './approvals/decide.ts'
import { listApprovalsRoute } from './approvals/list.ts'
import { showApprovalRoute } from './approvals/show.ts'
import { authentication, type JwtOptions } from './auth/authentication.ts'
import { checkpointRoute } from './evidence/checkpoint.ts'
import { consistencyRoute } from './evidence/consistency.ts'
import { proofRoute } from './evidence/proof.ts'
import { searchRoute } from './evidence/search.ts'
import { healthzRoute } from './health/healthz.ts'
import { readyzRoute } from './health/readyz.ts'
import { idempotency } from './idempotency/plugin.ts'
import { jsonBody } from './json/body-plugin.ts'
import { openApi } from './openapi/plugin.ts'
import { problems, sendProblem } from './problems/plugin.ts'
import { discardRoute } from './quarantine/discard.ts'
import { listRoute } from './quarantine/list.ts'
import { openRoute } from './quarantine/open.ts'
import { redriveRoutes } from './quarantine/redrive.ts'
import { showRoute } from './quarantine/show.ts'
import { overload } from './server/overload.ts'
import { rateLimiting } from './server/rate-limit.ts'
import { fixedHeaders, replyHeaders } from './server/reply-headers.ts'
import { logRequest, type RequestLog, requestLog } from './server/request-log.ts'
import { liftSuspensionRoute } from './suspensions/lift.ts'
import { listSuspensionsRoute } from './suspensions/list.ts'
import { detokenizeRoute } from './tokens/detokenize.ts'
import { tokenizeRoute } from './tokens/tokenize.ts'

export interface AppOptions {
  readonly log: RequestLog
  readonly verbs: {
    readonly detokenize: Detokenize
    readonly tokenize: Tokenize
    readonly quarantine: QuarantineVerbs
    readonly evidence: EvidenceVerbs
    readonly searchAudit: SearchAudit
    readonly approvals: ApprovalVerbs
    readonly suspensions: SuspensionVerbs
  }
  /** Where replies of state-changing calls are kept for repeats. */
  readonly idempotency: IdempotencyStore
  /** What /readyz asks. */
  readonly health: readonly HealthCheck[]
  readonly jwt: JwtOptions
  readonly clientTimeouts?: ClientTimeouts
  /** CIDRs of proxies whose X-Forwarded-For is believed; nobody's by default. */
  readonly trustProxy?: readonly string[]
  /** Requests a minute for one client address. */
  readonly rateLimitPerMinute: number
  /** Items of detokenize and tokenize that are worked on at once, over all requests; further calls wait in order. */
  readonly maxItemsAtOnce?: number
  /** Version of the software, shown by /healthz. */
  readonly version: string
}

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

/** After a reply to what is hardly HTTP, before the connection is cut whether or not the client closes it. */
const lingerMilliseconds = 500

/** The API, listening or not. */
export type App = FastifyInstance

/** 4 MiB: 10,001 tokens of the longest kind fit, so that a batch too large is refused by that name. */
const bodyLimitBytes = 4 * 1024 * 1024

/** Ten of the largest calls. */
const usualItemsAtOnce = 100_000

/**
 * Builds the API without listening. `app.listen()` starts it; `app.close()` lets requests under way finish, answers
 * new ones on open connections with 503 `overloaded`, and closes idle connections.
 *
 * @throws TokenvaultError `config_invalid` when the accepted JWT algorithms are not asymmetric
 */
export async function createApp(options: AppOptions): Promise<App> {
  const { headersMilliseconds, requestMilliseconds, silenceMilliseconds } = options.clientTimeouts ?? usualTimeouts
  const app = Fastify({
    // fastify logs URLs and error messages, both of which can hold a value; the plugin requestLog logs instead.
    logger: false,
    genReqId: () => randomUUID(),
    bodyLimit: bodyLimitBytes,
    trustProxy: options.trustProxy === undefined ? false : [...options.trustProxy],
    http: {
      headersTimeout: headersMilliseconds,
      // Node looks for overdue connections so often, and every 30 seconds by itself: too seldom for a limit of 10.
      connectionsCheckingInterval: Math.min(1000, headersMilliseconds / 4),
      maxHeaderSize: 16_384,
    },
    requestTimeout: requestMilliseconds,
    connectionTimeout: silenceMilliseconds,
    keepAliveTimeout: 65_000,
    forceCloseConnections: 'idle',
    return503OnClosing: false,
    // A URL that does not decode is refused before any hook runs.
    frameworkErrors: (error, request, reply) => {
      reply.headers(fixedHeaders)
      sendProblem(error, request, reply)
      logRequest(options.log, request, reply)
    },
    clientErrorHandler: refuseConnection,
    ajv: { customOptions: { removeAdditional: false, coerceTypes: false, allErrors: false } },
  })

  // Their bytes are bounded above. A bound on their number would hide the second of two Authorization headers.
  app.server.maxHeadersCount = 0
  // Node answers an expectation that it does not know with 417 and a bare reply; here it is ignored, as any may be.
  app.server.on('checkExpectation', (request, response) => app.routing(request, response))

  await app.register(requestLog, { log: options.log })
  await app.register(problems)
  await app.register(replyHeaders)
  await app.register(overload)
  await app.register(rateLimiting, { perMinute: options.rateLimitPerMinute })
  await app.register(jsonBody)
  await app.register(openApi)

  await app.register(healthzRoute, { version: options.version })
  await app.register(readyzRoute, { health: options.health })
  await app.register(async guarded => {
    await guarded.register(authentication, options.jwt)
    await guarded.register(idempotency, { store: options.idempotency, log: options.log })
    const gate = createItemGate(options.maxItemsAtOnce ?? usualItemsAtOnce)
    await guarded.register(detokenizeRoute, { detokenize: options.verbs.detokenize, gate })
    await guarded.register(tokenizeRoute, { tokenize: options.verbs.tokenize, gate })
    const { quarantine, approvals, suspensions, evidence, searchAudit } = options.verbs
    for (const route of [checkpointRoute, proofRoute, consistencyRoute]) await guarded.register(route, { evidence })
    await guarded.register(searchRoute, { searchAudit })
    for (const route of [listApprovalsRoute, showApprovalRoute, decideApprovalRoute]) {
      await guarded.register(route, { approvals })
    }
    for (const route of [listSuspensionsRoute, liftSuspensionRoute]) await guarded.register(route, { suspensions })
    for (const route of [listRoute, showRoute, openRoute, redriveRoutes, discardRoute]) {
      await guarded.register(route, { quarantine })
    }
  })
  return app
}

/** What is no HTTP, comes too slowly or has too many header bytes gets a status and not a word. */
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
