import Type from 'typebox'
import { approvalIdPattern } from '../../vault/admission/open-action.ts'
import type { ErasureVerbs } from '../../vault/people/erase.ts'
import { principalOf } from '../auth/authentication.ts'
import { operation } from '../operation.ts'
import { bodyProblems, guardedProblems } from '../problems/by-operation.ts'
import { receiptExample as receipt, receiptSchema, ticketSchema } from '../tokens/schemas.ts'
import { certificateExample, countSchema, personParams } from './erasure-schemas.ts'

const counts = [
  { kind: 'original', field: 'ip', count: 2 },
  { kind: 'row', count: 14 },
  { kind: 'shared', field: 'ip', count: 1 },
]
const approval = {
  id: '5b0e7a52-6f1c-4d39-9a40-0d6c5b1f2e77',
  state: 'pending',
  expiresAt: '2026-11-22T10:20:30.000Z',
}

const reply = Type.Object(
  {
    dryRun: Type.Optional(
      Type.Boolean({ description: '`true` where nothing was erased: this is what the call would do.' }),
    ),
    rows: Type.Enum(['remove', 'anonymize'], { type: 'string' }),
    counts: Type.Array(countSchema),
    unattributed: Type.Integer({
      description: 'Quarantined bodies that name nobody, or several people: they were left, and may be anybody’s.',
    }),
    number: Type.Optional(Type.Integer({ description: 'Number of the entry in the erasure ledger.' })),
    certificate: Type.Optional(Type.String({ description: 'First part of the certificate, a signed note.' })),
    isPublished: Type.Optional(
      Type.Boolean({
        description: 'Whether the entry stands beside the checkpoints; absent where none are published.',
      }),
    ),
    receipt: Type.Optional(receiptSchema),
  },
  { title: 'ErasureReply' },
)
const pending = Type.Object(
  {
    approval: Type.Object(
      {
        id: Type.String({ format: 'uuid', description: 'Send it as `approvalId`, with the same call, once approved.' }),
        state: Type.Enum(['pending', 'approved'], { type: 'string' }),
        expiresAt: Type.String({ format: 'date-time' }),
      },
      { title: 'OpenErasureApproval' },
    ),
    receipt: receiptSchema,
  },
  { title: 'ErasureApprovalRequired' },
)

const schema = {
  operationId: 'erasePerson',
  summary: 'Erase a person',
  description:
    'Removes the rows of a person, or keeps them without user_id and without tokens that only this person had; deletes the ' +
    'originals that nobody else’s rows refer to, and erases quarantined bodies that name this person. Values that others have ' +
    'too, and values whose tokens services keep, stay and are counted. All of it is one transaction with its event and its entry in ' +
    'the erasure ledger. Messages that still wait in the queue are outside of it: they are new processing. Where the policy asks ' +
    'for a second person, the reply is 202.',
  tags: ['people'],
  security: [{ accessToken: [] }],
  params: personParams,
  body: Type.Object(
    {
      ticket: ticketSchema,
      rows: Type.Optional(
        Type.Enum(['remove', 'anonymize'], { type: 'string', description: 'As the policy says where it is absent.' }),
      ),
      dryRun: Type.Optional(Type.Boolean({ description: '`true` counts, and erases nothing.' })),
      approvalId: Type.Optional(
        Type.String({
          pattern: approvalIdPattern,
          description: '`approval.id` of a 202 reply to the same call, once approved.',
        }),
      ),
    },
    { title: 'ErasureRequest', additionalProperties: false },
  ),
  response: { 200: reply, 202: pending },
  'x-problems': [
    ...guardedProblems,
    ...bodyProblems,
    'role_not_permitted',
    'ticket_invalid',
    'ticket_required',
    'people_off',
    'person_unknown',
    'person_held',
    'person_erased',
    'approval_unknown',
    'approval_unusable',
    'approvals_too_many',
    'store_unavailable',
    'store_misconfigured',
  ],
  'x-request-examples': {
    erase: { summary: 'Under a ticket', value: { ticket: 'DSR-1234' } },
    count: { summary: 'Only count', value: { ticket: 'DSR-1234', dryRun: true } },
  },
  'x-reply-examples': {
    erased: {
      summary: 'Erased',
      value: {
        rows: 'remove',
        counts,
        unattributed: 0,
        number: 1,
        certificate: certificateExample.certificate,
        isPublished: true,
        receipt,
      },
    },
    counted: { summary: 'Counted', value: { dryRun: true, rows: 'remove', counts, unattributed: 0 } },
  },
  'x-accepted': {
    description: 'A second person has to approve the erasure first. Nothing was erased.',
    examples: { pending: { summary: 'Waiting for an approver', value: { approval, receipt } } },
  },
} as const

/** POST /v1/people/{userId}/erasure */
export const erasePerson = operation({
  method: 'POST',
  url: '/v1/people/:userId/erasure',
  schema,
  needs: 'people',
  serve:
    ({ erasures }: { erasures: ErasureVerbs }) =>
    async (request, reply) => {
      const { dryRun = false, ...asked } = request.body
      const call = { ...asked, userId: request.params.userId, requestId: request.id, dryRun }
      const { outcome, ...result } = await erasures.erase(principalOf(request), call)
      if (outcome === 'approval_required') return reply.code(202).send(result as never)
      return (outcome === 'counted' ? { dryRun, ...result } : result) as never
    },
})
