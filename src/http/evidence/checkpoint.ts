import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import Type from 'typebox'
import type { EvidenceVerbs } from '../../vault/evidence/proofs.ts'
import { principalOf } from '../auth/authentication.ts'
import { capabilityProblems } from '../problems/by-operation.ts'
import { exampleCheckpoint, noteSchema } from './schemas.ts'

const reply = Type.Object(
  {
    origin: Type.String({ description: 'Name of the log.' }),
    treeSize: Type.Integer({ minimum: 1, description: 'How many events the checkpoint covers.' }),
    note: noteSchema,
    verifierKey: Type.String({
      description: 'Compare it with the one you keep: whoever changed the log would change this too.',
    }),
  },
  { title: 'NewestCheckpoint' },
)

const schema = {
  operationId: 'showCheckpoint',
  summary: 'Show the newest signed checkpoint',
  description:
    'What the log had come to when it was last signed, about every minute. Keep it: together with a later one it shows whether ' +
    'anything was changed or removed in between.',
  tags: ['evidence'],
  security: [{ accessToken: [] }],
  response: { 200: reply },
  'x-problems': [...capabilityProblems, 'audit_event_unknown'],
  'x-reply-examples': { newest: { summary: 'The newest', value: exampleCheckpoint } },
} as const

/** GET /v1/audit/checkpoint */
export const checkpointRoute: FastifyPluginAsyncTypebox<{ evidence: EvidenceVerbs }> = async (app, { evidence }) => {
  app.get('/v1/audit/checkpoint', { schema }, async request => {
    return evidence.newestCheckpoint(principalOf(request), { requestId: request.id })
  })
}
