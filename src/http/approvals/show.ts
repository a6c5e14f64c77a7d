import type { ApprovalVerbs } from '../../vault/admission/approvals.ts'
import { principalOf } from '../auth/authentication.ts'
import { operation } from '../operation.ts'
import { guardedProblems } from '../problems/by-operation.ts'
import { approvalParams, approvalSchema, exampleApproval, presentApproval } from './schemas.ts'

const schema = {
  operationId: 'showApproval',
  summary: 'Show one request for approval',
  description:
    'Whoever asked sees what became of the request, and whoever may approve sees every request. All others are answered 404.',
  tags: ['approvals'],
  security: [{ accessToken: [] }],
  params: approvalParams,
  response: { 200: approvalSchema },
  'x-problems': [...guardedProblems, 'approval_unknown'],
  'x-reply-examples': {
    pending: { summary: 'Waits for a decision', value: exampleApproval },
    approved: {
      summary: 'Approved, and not used yet',
      value: {
        ...exampleApproval,
        state: 'approved',
        expiresAt: '2026-03-01T09:41:30.004Z',
        decidedBy: 'robin',
        decidedAt: '2026-03-01T09:26:30.004Z',
      },
    },
  },
} as const

/** GET /v1/approvals/{id} */
export const showApproval = operation({
  method: 'GET',
  url: '/v1/approvals/:id',
  schema,
  serve:
    ({ approvals }: { approvals: ApprovalVerbs }) =>
    async request => {
      const { id } = request.params
      return presentApproval(await approvals.show(principalOf(request), { requestId: request.id, id })) as never
    },
})
