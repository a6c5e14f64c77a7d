import Type from 'typebox'
import type { QuarantineVerbs } from '../../vault/quarantine/verbs.ts'
import { principalOf } from '../auth/authentication.ts'
import { idempotencyHeaders, idempotencyProblems } from '../idempotency/header.ts'
import { operation } from '../operation.ts'
import { capabilityProblems, ignoredBodyProblems } from '../problems/by-operation.ts'
import { entryIdSchema, entryParams, exampleEntry } from './schemas.ts'

const schema = {
  operationId: 'discardQuarantined',
  summary: 'Erase the body of one entry for good',
  description: 'The entry stays, without its body. Who discarded it, and when, is evidence.',
  tags: ['quarantine'],
  security: [{ accessToken: [] }],
  params: entryParams,
  headers: idempotencyHeaders,
  response: {
    200: Type.Object({ id: entryIdSchema, state: Type.Literal('discarded') }, { title: 'DiscardReply' }),
  },
  'x-problems': [
    ...capabilityProblems,
    ...idempotencyProblems,
    ...ignoredBodyProblems,
    'quarantine_unknown',
    'quarantine_settled',
  ],
  'x-reply-examples': { discarded: { summary: 'Discarded', value: { id: exampleEntry.id, state: 'discarded' } } },
} as const

/** POST /v1/quarantine/{id}/discard */
export const discardQuarantined = operation({
  method: 'POST',
  url: '/v1/quarantine/:id/discard',
  schema,
  needs: 'quarantine',
  serve:
    ({ quarantine }: { quarantine: QuarantineVerbs }) =>
    async request => {
      const { id } = request.params
      await quarantine.discard(principalOf(request), { requestId: request.id, id })
      return { id, state: 'discarded' } as const
    },
})
