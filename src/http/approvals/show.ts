import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { ApprovalVerbs } from '../../vault/admission/approvals.ts'
import { principalOf } from '../auth/authentication.ts'
import { guardedProblems } from '../problems/by-operation.ts'
import { approvalParams, approvalSchema, exampleApproval, showApproval } from './schemas.ts'

const schema = {
  operationId: 'showApproval',
  summary: 'Show one request for approval',
  description:
    'Who asked sees what became of it, and who may approve sees every one. To all others there is none of that id.',
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
export const showApprovalRoute: FastifyPluginAsyncTypebox<{ approvals: ApprovalVerbs }> = async (
  app,
  { approvals },
) => {
  app.get('/v1/approvals/:id', { schema }, async request => {
    const { id } = request.params
    return showApproval(await approvals.show(principalOf(request), { requestId: request.id, id })) as never
  })
}
