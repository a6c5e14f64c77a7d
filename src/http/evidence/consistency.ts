import Type from 'typebox'
import type { EvidenceVerbs } from '../../vault/evidence/proofs.ts'
import { principalOf } from '../auth/authentication.ts'
import { operation } from '../operation.ts'
import { capabilityProblems } from '../problems/by-operation.ts'
import { countText, exampleConsistency, noteSchema, pathSchema } from './schemas.ts'

const querystring = Type.Object(
  {
    from: Type.String({ pattern: countText, description: 'Size of the older checkpoint.' }),
    to: Type.Optional(
      Type.String({ pattern: countText, description: 'Size of the later checkpoint; the newest unless given.' }),
    ),
  },
  { additionalProperties: false },
)

const reply = Type.Object({ from: noteSchema, to: noteSchema, path: pathSchema }, { title: 'ConsistencyProof' })

const schema = {
  operationId: 'proveAuditGrowth',
  summary: 'Prove that nothing was changed or removed between two checkpoints',
  description:
    'The proof can be checked with the verifier key alone (RFC 9162, 2.1.4.2). Compare `from` with the checkpoint that you kept: only ' +
    'then is the proof about what you saw.',
  tags: ['evidence'],
  security: [{ accessToken: [] }],
  querystring,
  response: { 200: reply },
  'x-problems': [...capabilityProblems, 'property_unknown', 'audit_event_unknown'],
  'x-reply-examples': { proof: { summary: 'Up to the newest checkpoint', value: exampleConsistency } },
} as const

/** GET /v1/audit/consistency */
export const proveAuditGrowth = operation({
  method: 'GET',
  url: '/v1/audit/consistency',
  schema,
  serve:
    ({ evidence }: { evidence: EvidenceVerbs }) =>
    async request => {
      const { from, to } = request.query
      const proof = await evidence.proveGrowth(principalOf(request), {
        requestId: request.id,
        from: Number(from),
        to: to === undefined ? undefined : Number(to),
      })
      return proof as never
    },
})
