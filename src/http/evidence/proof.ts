import Type from 'typebox'
import type { EvidenceVerbs } from '../../vault/evidence/proofs.ts'
import { principalOf } from '../auth/authentication.ts'
import { operation } from '../operation.ts'
import { capabilityProblems } from '../problems/by-operation.ts'
import { countText, exampleInclusion, leafHashSchema, noteSchema, pathSchema, sequenceSchema } from './schemas.ts'

const params = Type.Object({
  sequence: Type.String({ pattern: countText, description: 'Place of the event in the log, as in its receipt.' }),
})

const querystring = Type.Object(
  {
    size: Type.Optional(
      Type.String({
        pattern: countText,
        description: 'Size of the checkpoint to prove it by; the newest unless given.',
      }),
    ),
  },
  { additionalProperties: false },
)

const reply = Type.Object(
  {
    sequence: sequenceSchema,
    event: Type.String({ description: 'The stored bytes, which are JSON in UTF-8.' }),
    leafHash: leafHashSchema,
    path: pathSchema,
    checkpoint: noteSchema,
  },
  { title: 'InclusionProof' },
)

const schema = {
  operationId: 'proveAuditEvent',
  summary: 'Prove that an event is in the log',
  description:
    'Whoever has the verifier key can check the reply without the server: `tokenvault audit check` does, and so does any ' +
    'implementation of RFC 9162, 2.1.3.2. The first checkpoint after an event covers it, within about a minute.',
  tags: ['evidence'],
  security: [{ accessToken: [] }],
  params,
  querystring,
  response: { 200: reply },
  'x-problems': [...capabilityProblems, 'property_unknown', 'audit_event_unknown'],
  'x-reply-examples': { proof: { summary: 'By the newest checkpoint', value: exampleInclusion } },
} as const

/** GET /v1/audit/{sequence}/proof */
export const proveAuditEvent = operation({
  method: 'GET',
  url: '/v1/audit/:sequence/proof',
  schema,
  serve:
    ({ evidence }: { evidence: EvidenceVerbs }) =>
    async request => {
      const { size } = request.query
      const proof = await evidence.proveEvent(principalOf(request), {
        requestId: request.id,
        sequence: Number(request.params.sequence),
        size: size === undefined ? undefined : Number(size),
      })
      return proof as never
    },
})
