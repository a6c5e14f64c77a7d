import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import Type from 'typebox'
import type { ApprovalVerbs } from '../../vault/admission/approvals.ts'
import { principalOf } from '../auth/authentication.ts'
import { idempotencyHeaders, idempotencyProblems } from '../idempotency/header.ts'
import { bodyProblems, guardedProblems } from '../problems/by-operation.ts'
import { approvalIdSchema, exampleApproval } from './schemas.ts'

const body = Type.Object(
  {
    id: approvalIdSchema,
    decision: Type.Enum(['approve', 'refuse'], { type: 'string' }),
  },
  { title: 'DecideApprovalRequest', additionalProperties: false },
)

const { id } = exampleApproval

const schema = {
  operationId: 'decideApproval',
  summary: 'Approve or refuse a request',
  description:
    'For who may approve, about the requests of others: a subject never decides about its own, whatever token it comes with. ' +
    'A decision is final. What is approved may be used for 15 minutes, once, by the principal who asked and for exactly ' +
    'what was asked: the same call again, with `approvalId`.',
  tags: ['approvals'],
  security: [{ accessToken: [] }],
  headers: idempotencyHeaders,
  body,
  response: {
    200: Type.Object(
      { id: approvalIdSchema, state: Type.Enum(['approved', 'refused'], { type: 'string' }) },
      { title: 'DecideApprovalReply' },
    ),
  },
  'x-problems': [
    ...guardedProblems,
    ...bodyProblems,
    ...idempotencyProblems,
    'role_not_permitted',
    'approval_unknown',
    'approval_self',
    'approval_settled',
  ],
  'x-request-examples': {
    approve: { summary: 'Approve', value: { id, decision: 'approve' } },
    refuse: { summary: 'Refuse', value: { id, decision: 'refuse' } },
  },
  'x-reply-examples': { approved: { summary: 'Approved', value: { id, state: 'approved' } } },
} as const

/** POST /v1/approvals */
export const decideApprovalRoute: FastifyPluginAsyncTypebox<{ approvals: ApprovalVerbs }> = async (
  app,
  { approvals },
) => {
  app.post('/v1/approvals', { schema }, async request => {
    const { id, decision } = request.body
    const state = await approvals.decide(principalOf(request), { requestId: request.id, id, decision })
    return { id, state }
  })
}
