import Type from 'typebox'
import type { EvidenceVerbs } from '../../vault/evidence/proofs.ts'
import { principalOf } from '../auth/authentication.ts'
import { operation } from '../operation.ts'
import { capabilityProblems } from '../problems/by-operation.ts'
import { exampleCheckpoint, noteSchema } from './schemas.ts'

const reply = Type.Object(
  {
    origin: Type.String({ description: 'Name of the log.' }),
    treeSize: Type.Integer({ minimum: 1, description: 'How many events the checkpoint covers.' }),
    note: noteSchema,
    verifierKey: Type.String({
      description:
        'Of the key that signed the note. Compare it with the one you keep: whoever changed the log would change this key, too.',
    }),
    handOvers: Type.Array(noteSchema, {
      description:
        'Signed notes by which the log handed over from key to key, in order: they lead from the key that you keep to this one.',
    }),
  },
  { title: 'NewestCheckpoint' },
)

const schema = {
  operationId: 'showCheckpoint',
  summary: 'Show the newest signed checkpoint',
  description:
    'Size and root of the log when it was last signed, which happens about every minute. Keep it: together with a later ' +
    'checkpoint it shows whether anything was changed or removed in between.',
  tags: ['evidence'],
  security: [{ accessToken: [] }],
  response: { 200: reply },
  'x-problems': [...capabilityProblems, 'audit_event_unknown'],
  'x-reply-examples': { newest: { summary: 'The newest', value: exampleCheckpoint } },
} as const

/** GET /v1/audit/checkpoint */
export const showCheckpoint = operation({
  method: 'GET',
  url: '/v1/audit/checkpoint',
  schema,
  serve:
    ({ evidence }: { evidence: EvidenceVerbs }) =>
    async request =>
      evidence.newestCheckpoint(principalOf(request), { requestId: request.id }),
})
