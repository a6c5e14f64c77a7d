import Type from 'typebox'
import { operation } from '../operation.ts'
import { commonProblems } from '../problems/by-operation.ts'

const schema = {
  operationId: 'healthz',
  summary: 'Say that the process runs',
  description: 'For liveness probes. It looks at nothing outside the process.',
  tags: ['health'],
  security: [],
  response: {
    200: Type.Object({ status: Type.Literal('up'), version: Type.String() }, { title: 'Health' }),
  },
  'x-problems': commonProblems,
  'x-reply-examples': { up: { summary: 'Up', value: { status: 'up', version: '0.1.0' } } },
} as const

/** GET /healthz. It is answered under load, too: a process that is merely busy must not be killed for it. */
export const healthz = operation({
  method: 'GET',
  url: '/healthz',
  schema,
  isServedUnderLoad: true,
  serve: ({ version }: { version: string }) => {
    const answer = { status: 'up', version } as const
    return async () => answer
  },
})
