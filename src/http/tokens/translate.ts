import Type from 'typebox'
import type { BatchSemaphore } from '../../concurrency/batch-semaphore.ts'
import type { Translate } from '../../vault/tokens/translate.ts'
import { principalOf } from '../auth/authentication.ts'
import { operation } from '../operation.ts'
import { privilegedProblems } from '../problems/by-operation.ts'
import { itemErrorSchema } from '../problems/schemas.ts'
import { namedToken } from './detokenize.ts'
import { batchSize, purposeSchema, receiptExample as receipt, receiptSchema, ticketSchema } from './schemas.ts'

const body = Type.Object(
  {
    purpose: purposeSchema,
    tokens: Type.Array(Type.Union([namedToken, Type.String()]), {
      ...batchSize,
      description: 'Tokens as they stand in their columns; a UUID or an address with its field.',
    }),
    ticket: Type.Optional(ticketSchema),
  },
  { title: 'TranslateRequest', additionalProperties: false },
)

const translated = Type.Object(
  {
    token: Type.String(),
    field: Type.String(),
    successor: Type.String({
      description: 'The token that stands in its place; the token itself where there is none.',
    }),
    current: Type.Boolean({
      description:
        'Whether `successor` is of the key that makes tokens now. `false`: it is yet to be replaced, ask again later.',
    }),
  },
  { title: 'TranslatedToken' },
)
const withheld = Type.Object(
  { token: Type.String(), field: Type.Optional(Type.String()), error: itemErrorSchema },
  { title: 'TranslateItemError' },
)
const reply = Type.Object(
  {
    results: Type.Array(Type.Union([translated, withheld]), {
      description: 'One answer for each item, in the order of the request.',
    }),
    receipt: receiptSchema,
  },
  { title: 'TranslateReply' },
)

const [earlier, later] = ['ip_v1_WeHPqziSnryoK7aMD4uLDg', 'ip_v2_m3yTq9Zb1uWfJ0aXo7sPcQ']

const schema = {
  operationId: 'translate',
  summary: 'Give the present tokens for those of a rotated token key',
  description:
    'For tables elsewhere that hold tokens of a token key that was rotated: answers each with the token of the same value under ' +
    'the present key. No value is opened. A token of the present key answers itself. The right to it is `translate` in the ' +
    'policy; the call is charged and audited as `detokenize` is. `tokenvault keys token-map` gives all pairs of a field at once.',
  tags: ['tokens'],
  security: [{ accessToken: [] }],
  body,
  response: { 200: reply },
  'x-problems': [...privilegedProblems, 'store_unavailable', 'store_misconfigured'],
  'x-request-examples': {
    two: { summary: 'An earlier token and a present one', value: { purpose: 'migration', tokens: [earlier, later] } },
  },
  'x-reply-examples': {
    two: {
      summary: 'An earlier token, a present one, and one that the vault does not know',
      value: {
        results: [
          { token: earlier, field: 'ip', successor: later, current: true },
          { token: later, field: 'ip', successor: later, current: true },
          { token: 'ip_v1_OFlAHazMnUs0W2HeO7xjfw', error: { code: 'token_unknown' } },
        ],
        receipt,
      },
    },
  },
} as const

/** POST /v1/tokens/translate */
export const translate = operation({
  method: 'POST',
  url: '/v1/tokens/translate',
  schema,
  takesBatch: true,
  serve: (verbs: { translate: Translate; batches: BatchSemaphore }) => async (request, reply) => {
    const { items: results, receipt } = await verbs.batches.run(request.body.tokens.length, reply.raw, () =>
      verbs.translate(principalOf(request), { ...request.body, requestId: request.id }),
    )
    return { results, receipt } as never
  },
})
