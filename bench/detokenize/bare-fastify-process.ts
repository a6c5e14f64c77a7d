/** One Fastify route behind @fastify/jwt, and nothing else: what any API that checks access tokens costs. */
import type { AddressInfo } from 'node:net'
import jwt from '@fastify/jwt'
import Fastify from 'fastify'

const [publicPem = '', issuer = '', audience = ''] = process.argv.slice(2)
const app = Fastify({ logger: false })
await app.register(jwt, {
  secret: { public: publicPem },
  verify: { algorithms: ['ES256'], allowedIss: issuer, allowedAud: audience },
})
app.post('/v1/detokenize', { onRequest: request => request.jwtVerify() }, async request => request.body)
await app.listen({ host: '127.0.0.1', port: 0 })
process.send!((app.server.address() as AddressInfo).port)
process.on('disconnect', () => process.exit())
