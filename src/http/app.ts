import { randomUUID } from 'node:crypto'
import Fastify, { type FastifyInstance } from 'fastify'
import { createBatchSemaphore } from '../concurrency/batch-semaphore.ts'
import type { TokenvaultError } from '../errors.ts'
import type { HealthCheck } from '../vault/admission/ports.ts'
import { authentication, type JwtOptions } from './auth/authentication.ts'
import { type IdempotencyOptions, idempotency } from './idempotency/plugin.ts'
import { openApi } from './openapi/plugin.ts'
import { type NeedsOf, serve } from './operation.ts'
import { guardedOperations, publicOperations } from './operations.ts'
import { problems, sendProblem } from './problems/plugin.ts'
import { unknownRoutes } from './problems/unknown-routes.ts'
import { BadConnections } from './server/bad-connections.ts'
import { jsonBody } from './server/bodies.ts'
import { adjustServer, type ClientTimeouts, connectionOptions } from './server/connections.ts'
import { type OverloadOptions, overload, rateLimiting } from './server/limits.ts'
import { fixedHeaders, logRequest, type RequestLog, replyHeaders, requestLog } from './server/replies.ts'
import { requestForm } from './server/request-form.ts'

/** Every verb of the domain that an operation calls, by the name that the operation gives it. */
export type Verbs = Omit<NeedsOf<typeof guardedOperations>, 'batches'>

export interface AppOptions extends OverloadOptions {
  readonly log: RequestLog
  readonly verbs: Verbs
  /** Where replies of state-changing calls are kept for repeats. */
  readonly idempotency: IdempotencyOptions
  /** What /readyz asks. */
  readonly health: readonly HealthCheck[]
  /** Whether values can be stored, which /readyz tells and nothing else depends on; absent where none are. */
  readonly storing?: HealthCheck | undefined
  /** Why the newest change of keys could not be taken up. */
  readonly keysProblem?: (() => TokenvaultError | undefined) | undefined
  readonly jwt: JwtOptions
  readonly clientTimeouts?: ClientTimeouts
  /** CIDRs of proxies whose X-Forwarded-For is believed; nobody's by default. */
  readonly trustProxy?: readonly string[]
  /** Requests a minute for one client address. */
  readonly rateLimitPerMinute: number
  /** Items of detokenize and tokenize that are worked on at once, over all requests; further calls wait in order. */
  readonly maxItemsAtOnce?: number
  /** Connections open at once. */
  readonly maxConnections?: number
  /** Bytes of request bodies held at once, over all connections. */
  readonly maxBodyBytes?: number
  /** Version of the product, shown by /healthz and in the OpenAPI document. */
  readonly version: string
}

/** The API, listening or not. */
export type App = FastifyInstance

/** Ten of the largest calls. */
const usualItemsAtOnce = 100_000
const usualConnections = 1000
const usualBodyBytes = 64 * 1024 * 1024

/**
 * Builds the API without listening. `app.listen()` starts it; `app.close()` lets requests under way finish, answers
 * new ones on open connections with 503 `overloaded`, and closes idle connections.
 *
 * @throws TokenvaultError `config_invalid` when the accepted JWT algorithms are not asymmetric
 */
export async function createApp(options: AppOptions): Promise<App> {
  const { log, version, health, storing, keysProblem } = options
  const bad = new BadConnections(log)
  const app = Fastify({
    ...connectionOptions(bad, options.clientTimeouts),
    // fastify logs URLs and error messages, both of which can hold a value; the plugin requestLog logs instead.
    logger: false,
    genReqId: () => randomUUID(),
    // X-Forwarded-* are believed for one thing, the rate limit: client-address.ts.
    trustProxy: false,
    // A user id has up to 128 characters; one with more is refused for that, and not as a path that nobody serves.
    routerOptions: { maxParamLength: 512 },
    // A URL that does not decode is refused before any hook runs.
    frameworkErrors: (error, request, reply) => {
      reply.headers(fixedHeaders)
      sendProblem(error, request, reply)
      logRequest(log, request, reply)
    },
    ajv: { customOptions: { removeAdditional: false, coerceTypes: false, allErrors: false } },
  })
  adjustServer(app, bad, options.maxConnections ?? usualConnections)

  await app.register(requestLog, { log })
  await app.register(problems)
  await app.register(replyHeaders)
  await app.register(overload, { maxEventLoopDelayMilliseconds: options.maxEventLoopDelayMilliseconds })
  await app.register(rateLimiting, { perMinute: options.rateLimitPerMinute, trusted: options.trustProxy ?? [] })
  await app.register(requestForm)
  await app.register(unknownRoutes)
  await app.register(jsonBody, { maxBytesInFlight: options.maxBodyBytes ?? usualBodyBytes })
  await app.register(openApi, { version })

  serve(app, publicOperations, { version, health, storing, keysProblem })
  await app.register(async guarded => {
    await guarded.register(authentication, options.jwt)
    await guarded.register(idempotency, { ...options.idempotency, log })
    const batches = createBatchSemaphore(options.maxItemsAtOnce ?? usualItemsAtOnce)
    serve(guarded, guardedOperations, { ...options.verbs, batches })
  })
  return app
}
