import helmet from '@fastify/helmet'
import fp from 'fastify-plugin'

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
