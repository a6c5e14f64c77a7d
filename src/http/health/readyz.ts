import Type from 'typebox'
import { TokenvaultError } from '../../errors.ts'
import type { HealthCheck } from '../../vault/admission/ports.ts'
import { operation } from '../operation.ts'
import { commonProblems } from '../problems/by-operation.ts'
import { NotReady } from '../problems/problem.ts'

const schema = {
  operationId: 'readyz',
  summary: 'Say whether the process can do its work',
  description:
    'For readiness probes. It checks what the process needs: that the database takes writes, that every function and table is ' +
    'there and granted, and that the keys can be read. The detail of a 503 reply names what is wrong.',
  tags: ['health'],
  security: [],
  response: {
    200: Type.Object({ status: Type.Literal('ready') }, { title: 'Readiness' }),
  },
  'x-problems': ['store_unavailable', 'store_misconfigured', 'queue_unavailable', ...commonProblems],
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
      try {
        await underWay
      } catch (error) {
        throw error instanceof TokenvaultError ? new NotReady(error) : error
      }
      return { status: 'ready' } as const
    }
  },
})
