import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { TokenvaultError } from '../../errors.ts'
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
  const patterns = new Map<string, Set<string>>()
  app.addHook('onRoute', ({ url, method }) => {
    const methods = patterns.get(url) ?? new Set()
    for (const name of [method].flat()) methods.add(name)
    patterns.set(url, methods)
  })
  app.setNotFoundHandler((request, reply) => {
    const path = request.url.split('?', 1)[0]!
    // Not hasRoute: it reads the path as a pattern, and throws when a caller sends text that is not a valid pattern.
    const methods = [...patterns].flatMap(([pattern, methods]) => (isMatch(pattern, path) ? [...methods] : []))
    const allowed = [...new Set(methods)].sort()
    if (allowed.length > 0) reply.header('allow', allowed.join(', '))
    throw new TokenvaultError(allowed.length > 0 ? 'method_not_allowed' : 'route_not_found')
  })
})

/** Whether a path is one of a route, as `/v1/quarantine/7a` is of `/v1/quarantine/:id`. */
function isMatch(pattern: string, path: string): boolean {
  const wanted = pattern.split('/')
  const given = path.split('/')
  if (wanted.length !== given.length) return false
  return wanted.every((segment, index) => (segment.startsWith(':') ? given[index] !== '' : segment === given[index]))
}

/** Sends the problem that names the error, and leaves the error at the request for the log. */
export function sendProblem(error: FastifyError | Error, request: FastifyRequest, reply: FastifyReply): void {
  const failure = nameError(error)
  const problem = describeProblem(failure, request.id)
  request.failure = failure
  // RFC 9110 section 11.6.1; it says the same whatever was wrong with the token.
  if (problem.status === 401) reply.header('www-authenticate', 'Bearer')
  const retryAfterSeconds = retryAfterSecondsOf(failure)
  if (retryAfterSeconds !== undefined && !reply.hasHeader('retry-after')) {
    reply.header('retry-after', String(retryAfterSeconds))
  }
  // No hook runs for a URL that does not decode, so these two are set here again.
  reply.header('cache-control', 'no-store').header('x-request-id', request.id)
  reply.code(problem.status).type('application/problem+json')
  // A Buffer, because fastify adds a charset to a text and this media type has no such parameter.
  reply.send(Buffer.from(JSON.stringify(problem)))
}
