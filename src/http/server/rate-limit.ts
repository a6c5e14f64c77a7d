import rateLimit from '@fastify/rate-limit'
import fp from 'fastify-plugin'
import { TokenvaultError } from '../../errors.ts'

/**
 * Limits requests a minute for one client address (an IPv6 /64 counts as one). It is a hook of the whole app and
 * not of each route, so that it runs before authentication and also bounds guesses at unknown paths.
 */
export const rateLimiting = fp<{ perMinute: number }>(async (app, { perMinute }) => {
  await app.register(rateLimit, {
    global: false,
    max: perMinute,
    timeWindow: '1 minute',
    errorResponseBuilder: () => new TokenvaultError('rate_limited'),
  })
  app.addHook('onRequest', app.rateLimit())
})
