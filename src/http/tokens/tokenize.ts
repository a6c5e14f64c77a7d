import Type from 'typebox'
import type { BatchSemaphore } from '../../concurrency/batch-semaphore.ts'
import type { Tokenize } from '../../vault/tokens/tokenize.ts'
import { principalOf } from '../auth/authentication.ts'
import { operation } from '../operation.ts'
import { privilegedProblems } from '../problems/by-operation.ts'
import { BatchRefused } from '../problems/problem.ts'
import { itemErrorSchema } from '../problems/schemas.ts'
import { batchSize, purposeSchema, receiptExample as receipt, receiptSchema, ticketSchema } from './schemas.ts'

const token = 'ip_v1_WeHPqziSnryoK7aMD4uLDg'

const body = Type.Object(
  {
    purpose: purposeSchema,
    values: Type.Array(
      Type.Object(
        {
          field: Type.String({ description: 'A field of the vault, such as `ip` or `device_id`.' }),
          value: Type.String({ description: 'The value, in clear. It is normalized as during ingestion.' }),
        },
        { title: 'FieldValue', additionalProperties: false },
      ),
      batchSize,
    ),
    store: Type.Optional(
      Type.Boolean({
        description:
          '`true` stores the originals, so that `detokenize` gives the values back; `false` looks tokens up and stores nothing. ' +
          'Without it the policy decides: it stores for roles with `store_by_default`, and looks up for all others.',
      }),
    ),
    atomic: Type.Optional(
      Type.Boolean({
        description:
          'All or nothing: one failing item refuses the whole call, and nothing is stored. `false` by default.',
      }),
    ),
    ticket: Type.Optional(ticketSchema),
  },
  { title: 'TokenizeRequest', additionalProperties: false },
)

const otherToken = Type.Object({ token: Type.String(), keyVersion: Type.Integer() }, { title: 'OtherToken' })
const tokenized = Type.Object(
  {
    field: Type.String(),
    token: Type.String({ description: 'Under the primary token key.' }),
    others: Type.Optional(
      Type.Array(otherToken, {
        description:
          'Of a look-up after the token key was rotated: the tokens of the same value under other versions that are in use, the ' +
          'newest first. Earlier rows and exports may hold them.',
      }),
    ),
  },
  { title: 'TokenizedValue' },
)
const withheld = Type.Object({ field: Type.String(), error: itemErrorSchema }, { title: 'TokenizeItemError' })
const reply = Type.Object(
  {
    results: Type.Array(Type.Union([tokenized, withheld]), {
      description: 'One answer for each item, in the order of the request.',
    }),
    stored: Type.Boolean({ description: 'Whether the vault holds the originals of these tokens from now on.' }),
    receipt: receiptSchema,
  },
  { title: 'TokenizeReply' },
)

const schema = {
  operationId: 'tokenize',
  summary: 'Store values, or look their tokens up',
  description:
    'Answers up to 10,000 values with their tokens, which are those that ingestion gives them. With `"store": true` the ' +
    'vault also keeps the originals, sealed. Storing is idempotent by nature, so it takes no Idempotency-Key: an equal value ' +
    'has an equal token and one original, and a call whose reply was lost is repeated as it was. Without `store` nothing is ' +
    'kept, and the tokens can be looked for in user_logins. The reply never repeats a value, and there is none unless the ' +
    'audit event of this call was committed first; `receipt` proves that it was. Either way the call is privileged, charged ' +
    'and audited as `detokenize` is: a caller that could tokenize without limit would find the address behind a token by ' +
    'trying all IPv4 addresses.',
  tags: ['tokens'],
  security: [{ accessToken: [] }],
  body,
  response: { 200: reply },
  'x-problems': [
    ...privilegedProblems,
    'batch_refused',
    'storing_off',
    'token_collision',
    'store_unavailable',
    'store_misconfigured',
  ],
  'x-request-examples': {
    store: {
      summary: 'Store two values, or none of them',
      value: {
        purpose: 'enrollment',
        values: [
          { field: 'ip', value: '203.0.113.7' },
          { field: 'device_id', value: '3f2a9c4e-7b1d-4f8e-9a6c-2d5b8e1f0a37' },
        ],
        store: true,
        atomic: true,
      },
    },
    lookUp: {
      summary: 'Look two values up',
      value: {
        purpose: 'fraud_investigation',
        values: [
          { field: 'ip', value: '203.0.113.7' },
          { field: 'ip', value: 'not an address' },
        ],
      },
    },
  },
  'x-reply-examples': {
    rotated: {
      summary: 'Looked up after a rotation',
      value: {
        results: [{ field: 'ip', token: 'ip_v2_m3yTq9Zb1uWfJ0aXo7sPcQ', others: [{ token, keyVersion: 1 }] }],
        stored: false,
        receipt,
      },
    },
    stored: { summary: 'Stored', value: { results: [{ field: 'ip', token }], stored: true, receipt } },
    mixed: {
      summary: 'One token, one refusal',
      value: {
        results: [
          { field: 'ip', token },
          { field: 'ip', error: { code: 'value_invalid' } },
        ],
        stored: false,
        receipt,
      },
    },
  },
} as const

/** POST /v1/tokenize */
export const tokenize = operation({
  method: 'POST',
  url: '/v1/tokenize',
  schema,
  takesBatch: true,
  serve: (verbs: { tokenize: Tokenize; batches: BatchSemaphore }) => async (request, reply) => {
    const result = await verbs.batches.run(request.body.values.length, reply.raw, () =>
      verbs.tokenize(principalOf(request), { ...request.body, requestId: request.id }),
    )
    if (result.outcome === 'refused') throw new BatchRefused(result.failures)
    const { items: results, stored, receipt } = result
    return { results, stored, receipt } as never
  },
})
