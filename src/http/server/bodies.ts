import type { FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { TokenvaultError } from '../../errors.ts'
import { parseStrictJson } from '../strict-json.ts'
import { BodyBudget, type BodyHold } from './body-budget.ts'
import { readBody } from './read-body.ts'
import { hasBody } from './request-form.ts'

declare module 'fastify' {
  interface FastifyInstance {
    readonly bodyBudget: BodyBudget
  }
  interface FastifyRequest {
    /** What the request's body holds of the budget, until it is answered. */
    bodyHold: BodyHold | null
  }
}

/** Of operations that take a batch, 4 MiB: 10,001 tokens of the longest kind fit, so that a batch too large is refused by that name. */
export const batchBodyBytes = 4 * 1024 * 1024
/** Of all others. */
export const smallBodyBytes = 64 * 1024

/** No schema of ours is as deep. */
const maxBodyDepth = 16

/**
 * Bodies are application/json and nothing else. Bytes that are not UTF-8 are refused rather than replaced by U+FFFD,
 * which would tokenize another value than was sent; so are a byte-order mark (RFC 8259 section 8.1), names that stand
 * twice, which a gateway before us may read otherwise than we do, `__proto__`, and nesting beyond any schema.
 *
 * All bodies together take no more memory than the budget; a body beyond it is answered 503 and not read on. Who sends it
 * is known by then.
 */
export const jsonBody = fp<{ maxBytesInFlight: number }>(async (app, { maxBytesInFlight }) => {
  // A byte-order mark is kept, so that JSON.parse refuses it.
  const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
  const budget = new BodyBudget(maxBytesInFlight, batchBodyBytes)
  app.decorate('bodyBudget', budget)
  app.decorateRequest('bodyHold', null)
  app.addHook('preParsing', async (request, reply, payload) => {
    const { expect = '', 'content-length': length = '0' } = request.headers
    const isAwaited = hasBody(request.raw) && Number(length) <= request.routeOptions.bodyLimit
    if (isAwaited && expect.toLowerCase() === '100-continue') reply.raw.writeContinue()
    return payload
  })
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('application/json', async (request: FastifyRequest) => {
    const hold = budget.hold(holderOf(request))
    request.bodyHold = hold
    const body = await readBody(request.raw, { limitBytes: request.routeOptions.bodyLimit, hold })
    try {
      return parseStrictJson(utf8.decode(body), maxBodyDepth)
    } catch {
      throw new TokenvaultError('body_malformed')
    }
  })
  // When the operation is done, and not when the connection ends: it may work on, for a caller who hung up.
  app.addHook('onSend', async request => request.bodyHold?.release())
})

/** Callers without any role get nothing from any operation, so all of them together hold what one caller may. */
function holderOf({ principal }: FastifyRequest): string {
  return principal === null || principal.roles.length === 0 ? '' : JSON.stringify([principal.issuer, principal.subject])
}
