import Type from 'typebox'
import type { BatchSemaphore } from '../../concurrency/batch-semaphore.ts'
import { TokenvaultError } from '../../errors.ts'
import { approvalIdPattern } from '../../vault/admission/open-action.ts'
import type { Detokenize } from '../../vault/tokens/detokenize.ts'
import type { PreviewDetokenize } from '../../vault/tokens/preview.ts'
import { principalOf } from '../auth/authentication.ts'
import { operation } from '../operation.ts'
import { privilegedProblems } from '../problems/by-operation.ts'
import { BatchRefused } from '../problems/problem.ts'
import { itemErrorSchema, remainingSchema } from '../problems/schemas.ts'
import { examplePreview, previewSchema } from './preview-schemas.ts'
import { batchSize, purposeSchema, receiptExample as receipt, receiptSchema, ticketSchema } from './schemas.ts'

const token = 'ip_v1_WeHPqziSnryoK7aMD4uLDg'
const unknown = 'device_id_v1_m3yTq9Zb1uWfJ0aXo7sPcQ'

const approval = {
  id: '5b0e7a52-6f1c-4d39-9a40-0d6c5b1f2e77',
  state: 'pending',
  expiresAt: '2026-11-22T10:20:30.000Z',
  withoutApproval: { above: 5000, windowSeconds: 86_400, left: 1 },
}

export const namedToken = Type.Object(
  {
    field: Type.String({ description: 'The field whose column holds the token.' }),
    token: Type.String(),
  },
  { title: 'TokenOfField', additionalProperties: false },
)

const body = Type.Object(
  {
    purpose: purposeSchema,
    tokens: Type.Array(Type.Union([namedToken, Type.String()]), {
      ...batchSize,
      description:
        'Tokens exactly as user_logins holds them, of any field and in any order. A token may be repeated. A token that is a ' +
        'UUID or an address does not name its field: send it with the field.',
    }),
    atomic: Type.Optional(
      Type.Boolean({ description: 'All or nothing: one failing item refuses the whole call. `false` by default.' }),
    ),
    ticket: Type.Optional(ticketSchema),
    reveal: Type.Optional(
      Type.Enum(['partial'], {
        type: 'string',
        description:
          '`partial` asks for a part of each value, such as the network of an address, even where your roles reveal all of it.',
      }),
    ),
    approvalId: Type.Optional(
      Type.String({
        pattern: approvalIdPattern,
        description:
          '`approval.id` of a 202 reply to the same call, once the request was approved. The call uses it up.',
      }),
    ),
    dryRun: Type.Optional(
      Type.Boolean({
        description:
          '`true` asks what the same call without it would be answered: the reply has a `preview` and no results. Nothing is ' +
          'given, counted or requested. A preview finds the approval of the call by itself, so it takes no `approvalId`.',
      }),
    ),
  },
  { title: 'DetokenizeRequest', additionalProperties: false },
)

const found = Type.Object(
  {
    token: Type.String(),
    field: Type.String(),
    value: Type.String(),
    partial: Type.Optional(Type.Boolean({ description: '`true` where `value` is a part of the value only.' })),
  },
  { title: 'DetokenizedValue' },
)
const withheld = Type.Object(
  {
    token: Type.String(),
    field: Type.Optional(Type.String({ description: 'As the item named it.' })),
    error: itemErrorSchema,
  },
  { title: 'DetokenizeItemError' },
)
const reply = Type.Object(
  {
    results: Type.Array(Type.Union([found, withheld]), {
      description: 'One answer for each item, in the order of the request; none with `dryRun`.',
    }),
    preview: Type.Optional(previewSchema),
    receipt: receiptSchema,
  },
  { title: 'DetokenizeReply' },
)
const pending = Type.Object(
  {
    approval: Type.Object(
      {
        id: Type.String({ format: 'uuid', description: 'Send it as `approvalId`, with the same call, once approved.' }),
        state: Type.Enum(['pending', 'approved'], { type: 'string' }),
        expiresAt: Type.String({
          format: 'date-time',
          description: 'When the request expires; once it is approved, when the approval expires.',
        }),
        withoutApproval: Type.Optional(remainingSchema),
      },
      { title: 'OpenApproval' },
    ),
    receipt: receiptSchema,
  },
  { title: 'ApprovalRequired' },
)

const schema = {
  operationId: 'detokenize',
  summary: 'Give the values of tokens back',
  description:
    'Answers up to 10,000 tokens, each on its own: a token that cannot be answered gets an error code, and the others get ' +
    'their values. Nothing is returned unless the audit event of this call was committed first; `receipt` proves that it was. ' +
    'A token of a field that you may not reveal is refused from its prefix alone, whether or not the vault holds it. ' +
    'Values count against the budgets of your roles. Where the policy asks for a second person, no value is told and the ' +
    'reply is 202: repeat the call with `approvalId` within 15 minutes of the approval. `dryRun` tells beforehand what a call ' +
    'would give and cost, and who would have to approve it. ' +
    '`POST /detokenize` is the same operation.',
  tags: ['tokens'],
  security: [{ accessToken: [] }],
  body,
  response: { 200: reply, 202: pending },
  'x-problems': [
    ...privilegedProblems,
    'approval_unknown',
    'approval_unusable',
    'approvals_too_many',
    'batch_refused',
    'store_unavailable',
    'store_misconfigured',
  ],
  'x-request-examples': {
    batch: {
      summary: 'Two tokens, answered one by one',
      value: { purpose: 'fraud_investigation', tokens: [token, unknown] },
    },
    named: {
      summary: 'A token that is a UUID, and one that is an address',
      value: {
        purpose: 'fraud_investigation',
        tokens: [
          { field: 'device_id', token: '59e1cfab-3892-8ebc-a82b-b68c0f8b8b0e' },
          { field: 'ip', token: 'fde1:cfab:3892:9ebc:a82b:b68c:f8b:8b0e' },
        ],
      },
    },
    atomic: {
      summary: 'Both or none',
      value: { purpose: 'fraud_investigation', tokens: [token, unknown], atomic: true },
    },
    partial: {
      summary: 'A part of the value, under a ticket',
      value: { purpose: 'customer_support', ticket: 'SUP-1234', reveal: 'partial', tokens: [token] },
    },
    approved: {
      summary: 'The same call again, after its approval',
      value: { purpose: 'fraud_investigation', tokens: [token, unknown], approvalId: approval.id },
    },
    preview: {
      summary: 'What the call would give and cost',
      value: { purpose: 'fraud_investigation', tokens: [token, unknown], dryRun: true },
    },
  },
  'x-reply-examples': {
    found: { summary: 'Found', value: { results: [{ token, field: 'ip', value: '203.0.113.7' }], receipt } },
    mixed: {
      summary: 'One found, one not',
      value: {
        results: [
          { token, field: 'ip', value: '203.0.113.7' },
          { token: unknown, error: { code: 'token_unknown' } },
        ],
        receipt,
      },
    },
    partial: {
      summary: 'A part of the value',
      value: { results: [{ token, field: 'ip', value: '203.0.113.0/24', partial: true }], receipt },
    },
    preview: {
      summary: 'A preview: the call needs an approval',
      value: { results: [], preview: examplePreview, receipt },
    },
  },
  'x-accepted': {
    description: 'A second person has to approve this call first. Nothing of it was told or counted.',
    examples: { pending: { summary: 'Waiting for an approver', value: { approval, receipt } } },
  },
} as const

/** POST /v1/detokenize, and POST /detokenize for callers that ask without a version. */
export const detokenize = operation({
  method: 'POST',
  url: '/v1/detokenize',
  alias: '/detokenize',
  schema,
  takesBatch: true,
  serve: (verbs: { detokenize: Detokenize; previewDetokenize: PreviewDetokenize; batches: BatchSemaphore }) => {
    return async (request, reply) => {
      const { atomic = false, dryRun = false, ...asked } = request.body
      const call = { ...asked, requestId: request.id, atomic }
      const principal = principalOf(request)
      const { length } = asked.tokens
      if (dryRun) {
        if (asked.approvalId !== undefined)
          throw new TokenvaultError('request_invalid', 'a preview takes no approvalId')
        const previewed = await verbs.batches.run(length, reply.raw, () => verbs.previewDetokenize(principal, call))
        return { results: [], ...previewed } as never
      }
      const result = await verbs.batches.run(length, reply.raw, () => verbs.detokenize(principal, call))
      if (result.outcome === 'refused') throw new BatchRefused(result.failures)
      const { receipt } = result
      if (result.outcome === 'complete') return { results: result.items, receipt } as never
      return reply.code(202).send({ approval: result.approval, receipt })
    }
  },
})
