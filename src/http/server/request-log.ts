import type { FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import type { Log } from '../../log.ts'
import { describeProblem } from '../problems/problem.ts'

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
  else log.info({ ...line, code, ...(status === 401 ? { reason: failure.message } : {}) })
}
