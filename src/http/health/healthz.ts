import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import Type from 'typebox'
import { commonProblems } from '../problems/by-operation.ts'

const schema = {
  operationId: 'healthz',
  summary: 'Is the process up?',
  description: 'For liveness probes. It looks at nothing outside the process.',
  tags: ['health'],
  security: [],
  response: {
    200: Type.Object({ status: Type.Literal('up'), version: Type.String() }, { title: 'Health' }),
  },
  'x-problems': commonProblems,
  'x-reply-examples': { up: { summary: 'Up', value: { status: 'up', version: '0.1.0' } } },
} as const

/** GET /healthz. It answers under load too: a process that is merely busy must not be killed for it. */
export const healthzRoute: FastifyPluginAsyncTypebox<{ version: string }> = async (app, { version }) => {
  const answer = { status: 'up', version } as const
  app.get('/healthz', { schema, config: { pressureHandler: () => undefined } }, async () => answer)
}
