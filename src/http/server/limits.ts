import rateLimit from '@fastify/rate-limit'
import underPressure from '@fastify/under-pressure'
import fp from 'fastify-plugin'
import { TokenvaultError } from '../../errors.ts'
import { clientKey, trustNetworks } from './client-address.ts'

const usualDelayMilliseconds = 1000

class Overloaded extends TokenvaultError {
  constructor() {
    super('overloaded')
  }
}

export interface OverloadOptions {
  /** Time that the event loop may be late by. Tests, beside which a machine does much else, are more patient. */
  readonly maxEventLoopDelayMilliseconds?: number | undefined
}

/** Answers 503 at once while the process cannot keep up, and once it has begun to stop. */
export const overload = fp<OverloadOptions>(async (app, options) => {
  let stopping = false
  app.addHook('preClose', done => {
    stopping = true
    done()
  })
  app.addHook('onRequest', async (_request, reply) => {
    if (!stopping) return
    reply.header('connection', 'close')
    throw new Overloaded()
  })
  const maxEventLoopDelay = options.maxEventLoopDelayMilliseconds ?? usualDelayMilliseconds
  await app.register(underPressure, { maxEventLoopDelay, retryAfter: 5, customError: Overloaded })
})

/**
 * Limits requests a minute for one client address (an IPv6 /64 counts as one). It is a hook of the whole app and
 * not of each route, so that it runs before authentication and also bounds guesses at unknown paths.
 */
export const rateLimiting = fp<{ perMinute: number; trusted: readonly string[] }>(
  async (app, { perMinute, trusted }) => {
    const isTrusted = trustNetworks(trusted)
    await app.register(rateLimit, {
      global: false,
      max: perMinute,
      timeWindow: '1 minute',
      keyGenerator: ({ raw: { socket, headers } }) =>
        // Node joins the lines of this header.
        clientKey(socket.remoteAddress ?? '', String(headers['x-forwarded-for'] ?? ''), isTrusted),
      errorResponseBuilder: () => new TokenvaultError('rate_limited'),
    })
    app.addHook('onRequest', app.rateLimit())
  },
)
