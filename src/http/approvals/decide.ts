import Type from 'typebox'
import type { ApprovalVerbs } from '../../vault/admission/approvals.ts'
import { principalOf } from '../auth/authentication.ts'
import { idempotencyHeaders, idempotencyProblems } from '../idempotency/header.ts'
import { operation } from '../operation.ts'
import { bodyProblems, guardedProblems } from '../problems/by-operation.ts'
import { approvalIdSchema, approvalParams, exampleApproval } from './schemas.ts'

const body = Type.Object(
  { decision: Type.Enum(['approve', 'refuse'], { type: 'string' }) },
  { title: 'DecideApprovalRequest', additionalProperties: false },
)

const { id } = exampleApproval

const schema = {
  operationId: 'decideApproval',
  summary: 'Approve or refuse a request for approval',
  description:
    'For callers that may approve, about requests of others: a subject never decides about its own request, whichever access ' +
    'token it presents. A decision is final. An approved request may be used once within 15 minutes, by the principal who asked ' +
    'and for exactly what was asked: the same call again, with `approvalId`.',
  tags: ['approvals'],
  security: [{ accessToken: [] }],
  params: approvalParams,
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
    approve: { summary: 'Approve', value: { decision: 'approve' } },
    refuse: { summary: 'Refuse', value: { decision: 'refuse' } },
  },
  'x-reply-examples': { approved: { summary: 'Approved', value: { id, state: 'approved' } } },
} as const

/** POST /v1/approvals/{id}/decision */
export const decideApproval = operation({
  method: 'POST',
  url: '/v1/approvals/:id/decision',
  schema,
  needs: 'approve',
  serve:
    ({ approvals }: { approvals: ApprovalVerbs }) =>
    async request => {
      const { id } = request.params
      const { decision } = request.body
      const state = await approvals.decide(principalOf(request), { requestId: request.id, id, decision })
      return { id, state }
    },
})
