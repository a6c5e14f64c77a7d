import Type from 'typebox'
import type { HealthCheck } from '../../vault/admission/ports.ts'
import { operation } from '../operation.ts'
import { commonProblems } from '../problems/by-operation.ts'

const schema = {
  operationId: 'readyz',
  summary: 'Tell whether the process can do its work',
  description:
    'For readiness probes. It asks what the process depends on; the code of a refusal names what is missing.',
  tags: ['health'],
  security: [],
  response: {
    200: Type.Object({ status: Type.Literal('ready') }, { title: 'Readiness' }),
  },
  'x-problems': ['store_unavailable', 'queue_unavailable', ...commonProblems],
  'x-reply-examples': { ready: { summary: 'Ready', value: { status: 'ready' } } },
} as const

/** GET /readyz. Probes that come while one is under way share its answer, so that nobody can flood the database. */
export const readyz = operation({
  method: 'GET',
  url: '/readyz',
  schema,
  serve: ({ health }: { health: readonly HealthCheck[] }) => {
    let underWay: Promise<unknown> | undefined
    return async () => {
      underWay ??= Promise.all(health.map(part => part.check())).finally(() => {
        underWay = undefined
      })
      await underWay
      return { status: 'ready' } as const
    }
  },
})
