import underPressure from '@fastify/under-pressure'
import fp from 'fastify-plugin'
import { TokenvaultError } from '../../errors.ts'

const maxEventLoopDelayMs = 1000

class Overloaded extends TokenvaultError {
  constructor() {
    super('overloaded')
  }
}

/** Answers 503 at once while the process cannot keep up, and once it has begun to stop. */
export const overload = fp(async app => {
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
  await app.register(underPressure, { maxEventLoopDelay: maxEventLoopDelayMs, retryAfter: 5, customError: Overloaded })
})
