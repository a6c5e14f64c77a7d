import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import type { TokenvaultError } from '../../errors.ts'
import { describeProblem, retryAfterSecondsOf } from './problem.ts'
import { nameError } from './request-errors.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /** Why the request did not succeed; for the log. */
    failure: TokenvaultError | null
  }
}

/** Every failure, whoever raised it, leaves as one problem body without a word that is not ours. */
export const problems = fp(async app => {
  app.decorateRequest('failure', null)
  app.setErrorHandler(sendProblem)
})

/** Sends the problem that names the error, and leaves the error at the request for the log. */
export function sendProblem(error: FastifyError | Error, request: FastifyRequest, reply: FastifyReply): void {
  const failure = nameError(error, request.routeOptions.schema)
  const problem = describeProblem(failure, request.id)
  request.failure = failure
  // RFC 9110 section 11.6.1; it says the same whatever was wrong with the token.
  if (problem.status === 401) reply.header('www-authenticate', 'Bearer')
  const retryAfterSeconds = retryAfterSecondsOf(failure)
  if (retryAfterSeconds !== undefined && !reply.hasHeader('retry-after')) {
    reply.header('retry-after', String(retryAfterSeconds))
  }
  // Whoever framed this strangely may have meant the next bytes otherwise, too.
  if (problem.code === 'request_malformed') reply.header('connection', 'close')
  // No hook runs for a URL that does not decode, so these two are set here again.
  reply.header('cache-control', 'no-store').header('x-request-id', request.id)
  reply.code(problem.status).type('application/problem+json')
  // A Buffer, because fastify adds a charset to a text and this media type has no such parameter.
  reply.send(Buffer.from(JSON.stringify(problem)))
}
