import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import Type from 'typebox'
import type { Detokenize } from '../../vault/detokenize.ts'
import { privilegedProblems } from '../operation-problems.ts'
import { principalOf } from '../plugins/authentication.ts'
import { BatchRefused } from '../problem.ts'
import { batchSize, itemErrorSchema, purposeSchema } from '../schemas.ts'

const token = 'ip_v1_8mJXb0vZ2m1n0kq3TnXo1Qk9cS1yWq2fT0w'
const unknown = 'device_id_v1_m3yTq9Zb1uWfJ0aXo7sPcQ'

const body = Type.Object(
  {
    purpose: purposeSchema,
    tokens: Type.Array(Type.String(), {
      ...batchSize,
      description: 'Tokens as they stand in user_logins, of any field, in any order, repeats allowed.',
    }),
    atomic: Type.Optional(
      Type.Boolean({ default: false, description: 'All or nothing: one failing item refuses the whole call.' }),
    ),
  },
  { title: 'DetokenizeRequest', additionalProperties: false },
)

const found = Type.Object(
  { token: Type.String(), field: Type.String(), value: Type.String() },
  { title: 'DetokenizedValue' },
)
const withheld = Type.Object({ token: Type.String(), error: itemErrorSchema }, { title: 'DetokenizeItemError' })
const reply = Type.Object(
  {
    results: Type.Array(Type.Union([found, withheld]), {
      description: 'One answer an item, in the order of the request.',
    }),
  },
  { title: 'DetokenizeReply' },
)

const schema = {
  operationId: 'detokenize',
  summary: 'Give originals back for tokens',
  description:
    'Answers up to 10,000 tokens, each on its own: a token that cannot be answered gets an error code and its ' +
    'neighbours their values. Nothing is returned unless the audit event of this call was committed first. ' +
    'A token of a field that you may not reveal is refused from its prefix, whether or not the vault holds it. ' +
    '`POST /detokenize` is the same operation.',
  tags: ['tokens'],
  security: [{ accessToken: [] }],
  body,
  response: { 200: reply },
  'x-problems': [...privilegedProblems, 'batch_refused', 'store_unavailable'],
  'x-request-examples': {
    batch: {
      summary: 'Two tokens, answered one by one',
      value: { purpose: 'fraud_investigation', tokens: [token, unknown] },
    },
    atomic: {
      summary: 'Both or none',
      value: { purpose: 'fraud_investigation', tokens: [token, unknown], atomic: true },
    },
  },
  'x-reply-examples': {
    found: { summary: 'Found', value: { results: [{ token, field: 'ip', value: '203.0.113.7' }] } },
    mixed: {
      summary: 'One found, one not',
      value: {
        results: [
          { token, field: 'ip', value: '203.0.113.7' },
          { token: unknown, error: { code: 'token_unknown' } },
        ],
      },
    },
  },
} as const

/** POST /v1/detokenize, and POST /detokenize for callers that ask without a version. */
export const detokenizeRoute: FastifyPluginAsyncTypebox<{ detokenize: Detokenize }> = async (app, { detokenize }) => {
  for (const [url, hide] of [
    ['/v1/detokenize', false],
    ['/detokenize', true],
  ] as const) {
    app.post(url, { schema: { ...schema, hide } }, async request => {
      const { purpose, tokens, atomic = false } = request.body
      const result = await detokenize(principalOf(request), { requestId: request.id, purpose, tokens, atomic })
      if (result.outcome === 'refused') throw new BatchRefused(result.failures)
      return { results: result.items } as never
    })
  }
}
