import Type from 'typebox'
import type { HoneyVerbs } from '../../vault/honey/honey-tokens.ts'
import { principalOf } from '../auth/authentication.ts'
import { idempotencyHeaders, idempotencyProblems } from '../idempotency/header.ts'
import { operation } from '../operation.ts'
import { capabilityProblems, ignoredBodyProblems } from '../problems/by-operation.ts'
import { exampleHoneyId, honeyIdSchema } from './schemas.ts'

const schema = {
  operationId: 'retireHoney',
  summary: 'Retire a honey token',
  description: 'Nobody who meets it is told of any more. The token stays, as any other does.',
  tags: ['honey'],
  security: [{ accessToken: [] }],
  headers: idempotencyHeaders,
  params: Type.Object({ id: honeyIdSchema }),
  response: {
    200: Type.Object({ id: honeyIdSchema, state: Type.Literal('retired') }, { title: 'RetireHoneyReply' }),
  },
  'x-problems': [...capabilityProblems, ...ignoredBodyProblems, ...idempotencyProblems, 'honey_unknown'],
  'x-reply-examples': { retired: { summary: 'Retired', value: { id: exampleHoneyId, state: 'retired' } } },
} as const

/** POST /v1/honey/{id}/retire */
export const retireHoney = operation({
  method: 'POST',
  url: '/v1/honey/:id/retire',
  schema,
  needs: 'honey',
  serve:
    ({ honey }: { honey: HoneyVerbs }) =>
    async request => {
      const { id } = request.params
      await honey.retire(principalOf(request), { requestId: request.id, id })
      return { id, state: 'retired' } as const
    },
})
