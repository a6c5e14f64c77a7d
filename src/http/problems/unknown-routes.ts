import type { FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { TokenvaultError } from '../../errors.ts'

/**
 * A path that no route has is answered 404, and one that has routes of other methods only 405 with `Allow`: also for
 * OPTIONS, since no page of another origin is meant to call the API, and for TRACE, which would repeat the access token.
 * HEAD is answered wherever GET is, as GET is, with the same evidence.
 *
 * It is said before any body is read, since nobody has to show an access token for it. Register it before the routes.
 */
export const unknownRoutes = fp(async app => {
  const patterns = new Map<string, Set<string>>()
  app.addHook('onRoute', ({ url, method }) => {
    const methods = patterns.get(url) ?? new Set()
    for (const name of [method].flat()) methods.add(name)
    patterns.set(url, methods)
  })
  const refuse = (request: FastifyRequest, reply: FastifyReply) => {
    const path = request.url.split('?', 1)[0]!
    // Not hasRoute: it reads the path as a pattern, and throws when a caller sends text that is not a valid pattern.
    const methods = [...patterns].flatMap(([pattern, methods]) => (isMatch(pattern, path) ? [...methods] : []))
    const allowed = [...new Set(methods)].sort()
    if (allowed.length > 0) reply.header('allow', allowed.join(', '))
    throw new TokenvaultError(allowed.length > 0 ? 'method_not_allowed' : 'route_not_found')
  }
  app.addHook('onRequest', async (request, reply) => {
    if (request.is404) refuse(request, reply)
  })
  // What a route itself passes on, such as that of the static files of /docs.
  app.setNotFoundHandler(refuse)
})

/** Whether a path is one of a route, as `/v1/quarantine/7a` is of `/v1/quarantine/:id`. */
function isMatch(pattern: string, path: string): boolean {
  const wanted = pattern.split('/')
  const given = path.split('/')
  if (wanted.at(-1) === '*') given.splice(wanted.length - 1, given.length, '*')
  if (wanted.length !== given.length) return false
  return wanted.every((segment, index) => (segment.startsWith(':') ? given[index] !== '' : segment === given[index]))
}
