import helmet from '@fastify/helmet'
import type { FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import type { Log } from '../../log.ts'
import { JwtRefused } from '../auth/jwt-guard.ts'
import { describeProblem } from '../problems/problem.ts'

/** What replyHeaders gives a problem, for the one kind of reply that no hook sees: to a URL that does not decode. */
export const fixedHeaders: Readonly<Record<string, string>> = {
  'content-security-policy': "default-src 'none';base-uri 'none';form-action 'none';frame-ancestors 'none'",
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'origin-agent-cluster': '?1',
  'referrer-policy': 'no-referrer',
  'strict-transport-security': 'max-age=31536000; includeSubDomains',
  'x-content-type-options': 'nosniff',
  'x-dns-prefetch-control': 'off',
  'x-download-options': 'noopen',
  'x-frame-options': 'DENY',
  'x-permitted-cross-domain-policies': 'none',
  'x-xss-protection': '0',
}

/** Nothing of a reply may be kept by a cache, framed, sniffed, or run. */
export const replyHeaders = fp(async app => {
  app.addHook('onRequest', async (request, reply) => {
    reply.header('x-request-id', request.id)
  })
  await app.register(helmet, {
    contentSecurityPolicy: {
      useDefaults: false,
      directives: {
        'default-src': ["'none'"],
        'base-uri': ["'none'"],
        'form-action': ["'none'"],
        'frame-ancestors': ["'none'"],
      },
    },
    xFrameOptions: { action: 'deny' },
    referrerPolicy: { policy: 'no-referrer' },
  })
  // Last, so that it also overrules what the static files of /docs ask for.
  app.addHook('onSend', async (_request, reply) => {
    reply.header('cache-control', 'no-store')
    reply.removeHeader('etag').removeHeader('last-modified')
  })
})

/** What is used of the log. */
export type RequestLog = Pick<Log, 'info' | 'error'>

export const requestLog = fp<{ log: RequestLog }>(async (app, { log }) => {
  app.addHook('onResponse', async (request, reply) => logRequest(log, request, reply))
})

/**
 * One line a request. It names the route's pattern and never the URL, because callers put values into URLs; headers
 * and body are not looked at.
 */
export function logRequest(log: RequestLog, request: FastifyRequest, reply: FastifyReply): void {
  const { failure } = request
  const line = {
    event: 'request',
    requestId: request.id,
    method: request.method,
    route: request.routeOptions.url ?? 'none',
    status: reply.statusCode,
    durationMs: Math.round(reply.elapsedTime * 10) / 10,
  }
  if (failure === null) {
    log.info(line)
    return
  }
  const { code, status } = describeProblem(failure, request.id)
  if (status >= 500) log.error({ ...line, code, err: failure })
  else {
    // Of a refused access token the caller learns nothing, so all of it is here.
    const place = failure instanceof JwtRefused ? failure.place : {}
    log.info({ ...line, code, ...(status === 401 ? { ...place, reason: failure.message } : {}) })
  }
}
