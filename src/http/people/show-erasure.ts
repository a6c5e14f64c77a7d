import Type from 'typebox'
import type { ErasureVerbs } from '../../vault/people/erase.ts'
import { principalOf } from '../auth/authentication.ts'
import { operation } from '../operation.ts'
import { capabilityProblems } from '../problems/by-operation.ts'
import { certificateExample } from './erasure-schemas.ts'

const proofSchema = Type.Object(
  {},
  {
    additionalProperties: true,
    title: 'ErasureProof',
    description: 'An inclusion proof, as `GET /v1/audit/…` gives it.',
  },
)

const schema = {
  operationId: 'showErasure',
  summary: 'Show the certificate of an erasure',
  description:
    'What an outsider checks with `tokenvault erasure check` and the verifier key alone. `proof` is absent until a checkpoint covers ' +
    'the event, `completion` until the keys with which backups could be opened are gone.',
  tags: ['people'],
  security: [{ accessToken: [] }],
  params: Type.Object({
    number: Type.String({ pattern: '^[1-9][0-9]{0,14}$', description: 'Number of the entry in the erasure ledger.' }),
  }),
  response: {
    200: Type.Object(
      {
        certificate: Type.String({ description: 'First part, a signed note.' }),
        proof: Type.Optional(proofSchema),
        completion: Type.Optional(Type.String({ description: 'Second part, a signed note.' })),
        completionProofs: Type.Optional(Type.Array(proofSchema)),
      },
      { title: 'ErasureCertificate' },
    ),
  },
  'x-problems': [...capabilityProblems, 'erasure_unknown', 'store_unavailable'],
  'x-reply-examples': { first: { summary: 'Before a checkpoint covers it', value: certificateExample } },
} as const

/** GET /v1/erasures/{number} */
export const showErasure = operation({
  method: 'GET',
  url: '/v1/erasures/:number',
  schema,
  needs: 'people',
  serve:
    ({ erasures }: { erasures: ErasureVerbs }) =>
    async request =>
      (await erasures.show(principalOf(request), {
        requestId: request.id,
        number: Number(request.params.number),
      })) as never,
})
