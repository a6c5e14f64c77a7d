import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import Type from 'typebox'
import type { QuarantineVerbs } from '../../vault/quarantine/verbs.ts'
import { principalOf } from '../auth/authentication.ts'
import { idempotencyHeaders, idempotencyProblems } from '../idempotency/header.ts'
import { capabilityProblems } from '../problems/by-operation.ts'
import { entryIdSchema, entryParams, exampleEntry } from './schemas.ts'

const schema = {
  operationId: 'discardQuarantined',
  summary: 'Erase the body of one entry for good',
  description: 'The entry stays, without its body; who discarded it, and when, is evidence.',
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
    // It takes no body; one that comes is read all the same before it is passed over.
    'body_malformed',
    'body_too_large',
    'content_type_unsupported',
    'quarantine_unknown',
    'quarantine_settled',
  ],
  'x-reply-examples': { discarded: { summary: 'Discarded', value: { id: exampleEntry.id, state: 'discarded' } } },
} as const

/** POST /v1/quarantine/{id}/discard */
export const discardRoute: FastifyPluginAsyncTypebox<{ quarantine: QuarantineVerbs }> = async (app, { quarantine }) => {
  app.post('/v1/quarantine/:id/discard', { schema }, async request => {
    const { id } = request.params
    await quarantine.discard(principalOf(request), { requestId: request.id, id })
    return { id, state: 'discarded' } as const
  })
}
