import Type from 'typebox'
import { approvalIdPattern } from '../../vault/admission/open-action.ts'
import type { ExportPerson } from '../../vault/people/export.ts'
import { principalOf } from '../auth/authentication.ts'
import { operation } from '../operation.ts'
import { privilegedProblems } from '../problems/by-operation.ts'
import { purposeSchema, receiptExample, receiptSchema, ticketSchema } from '../tokens/schemas.ts'
import { exampleUserId, personProblems, userIdSchema } from './schemas.ts'

const approval = {
  id: '5b0e7a52-6f1c-4d39-9a40-0d6c5b1f2e77',
  state: 'pending',
  expiresAt: '2026-11-22T10:20:30.000Z',
}

const schema = {
  operationId: 'exportPerson',
  summary: 'Make the file of a person',
  description:
    'Rows, values and who saw them, as one signed JSON text. The values are opened by a call of `detokenize` with this purpose and ticket, so the ' +
    'caller needs a role that reveals them besides one that answers people, and perhaps an approval. At most 20,000 rows that differ, ' +
    '10,000 tokens and 1,000 events.',
  tags: ['people'],
  security: [{ accessToken: [] }],
  body: Type.Object(
    {
      userId: userIdSchema,
      purpose: purposeSchema,
      ticket: Type.Optional(ticketSchema),
      approvalId: Type.Optional(Type.String({ pattern: approvalIdPattern })),
      names: Type.Optional(
        Type.Boolean({ description: 'Names staff, instead of by a pseudonym of this report. `false` by default.' }),
      ),
    },
    { title: 'ExportPersonRequest', additionalProperties: false },
  ),
  response: {
    200: Type.Object(
      {
        report: Type.String({ description: 'JSON. Its signature is over these bytes.' }),
        statement: Type.String({ description: 'Signed note of its SHA-256.' }),
        receipt: receiptSchema,
      },
      { title: 'ExportPersonReply' },
    ),
    202: Type.Object(
      {
        approval: Type.Object({ id: Type.String(), state: Type.String(), expiresAt: Type.String() }),
        receipt: receiptSchema,
      },
      { title: 'ExportPersonPending' },
    ),
  },
  'x-problems': [
    ...new Set([
      ...privilegedProblems,
      ...personProblems,
      ...(['person_too_large', 'approval_unknown', 'approval_unusable', 'approvals_too_many'] as const),
    ]),
  ],
  'x-request-examples': {
    export: { summary: 'For a request of access', value: { userId: exampleUserId, purpose: 'data_subject_request' } },
  },
  'x-reply-examples': {
    made: {
      summary: 'Made',
      value: { report: '{"format":1}', statement: 'tokenvault person report v1\n', receipt: receiptExample },
    },
  },
  'x-accepted': {
    description: 'A second person has to approve this call first. Nothing of it was told or counted.',
    examples: { pending: { summary: 'Waiting for an approver', value: { approval, receipt: receiptExample } } },
  },
} as const

/** POST /v1/people/export */
export const exportPerson = operation({
  method: 'POST',
  url: '/v1/people/export',
  schema,
  serve:
    ({ exportPerson: make }: { exportPerson: ExportPerson }) =>
    async (request, reply) => {
      const { names = false, ...asked } = request.body
      const result = await make(principalOf(request), { ...asked, names, requestId: request.id })
      const { receipt } = result
      if (result.outcome === 'approval_required') {
        const { id, state, expiresAt } = result.approval
        return reply.code(202).send({ approval: { id, state, expiresAt }, receipt })
      }
      return { report: result.report, statement: result.statement, receipt }
    },
})
