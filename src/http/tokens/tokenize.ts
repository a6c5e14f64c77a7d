import Type from 'typebox'
import type { BatchSemaphore } from '../../concurrency/batch-semaphore.ts'
import type { Tokenize } from '../../vault/tokens/tokenize.ts'
import { principalOf } from '../auth/authentication.ts'
import { operation } from '../operation.ts'
import { privilegedProblems } from '../problems/by-operation.ts'
import { itemErrorSchema } from '../problems/schemas.ts'
import { batchSize, purposeSchema, ticketSchema } from './schemas.ts'

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
    ticket: Type.Optional(ticketSchema),
  },
  { title: 'TokenizeRequest', additionalProperties: false },
)

const tokenized = Type.Object({ field: Type.String(), token: Type.String() }, { title: 'TokenizedValue' })
const withheld = Type.Object({ field: Type.String(), error: itemErrorSchema }, { title: 'TokenizeItemError' })
const reply = Type.Object(
  {
    results: Type.Array(Type.Union([tokenized, withheld]), {
      description: 'One answer for each item, in the order of the request.',
    }),
  },
  { title: 'TokenizeReply' },
)

const schema = {
  operationId: 'tokenize',
  summary: 'Find the tokens of values',
  description:
    'Answers up to 10,000 values with the tokens that ingestion gives them, so that they can be looked for in ' +
    'user_logins. Nothing is stored, and the reply never repeats a value. The call is privileged, charged and audited as ' +
    '`detokenize` is: a caller that could tokenize without limit would find the address behind a token by trying all IPv4 addresses.',
  tags: ['tokens'],
  security: [{ accessToken: [] }],
  body,
  response: { 200: reply },
  'x-problems': privilegedProblems,
  'x-request-examples': {
    batch: {
      summary: 'Two values',
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
    tokenized: { summary: 'A token', value: { results: [{ field: 'ip', token }] } },
    mixed: {
      summary: 'One token, one refusal',
      value: {
        results: [
          { field: 'ip', token },
          { field: 'ip', error: { code: 'value_invalid' } },
        ],
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
    const results = await verbs.batches.run(request.body.values.length, reply.raw, () =>
      verbs.tokenize(principalOf(request), { ...request.body, requestId: request.id }),
    )
    return { results } as never
  },
})
