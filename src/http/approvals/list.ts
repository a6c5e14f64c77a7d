import Type from 'typebox'
import type { ApprovalVerbs } from '../../vault/admission/approvals.ts'
import { principalOf } from '../auth/authentication.ts'
import { operation } from '../operation.ts'
import { beforeSchema, limitSchema, nextOf, nextSchema, usualPageSize } from '../pages.ts'
import { guardedProblems } from '../problems/by-operation.ts'
import { approvalIdSchema, approvalSchema, approvalStateSchema, exampleApproval, presentApproval } from './schemas.ts'

const querystring = Type.Object(
  {
    state: Type.Optional(approvalStateSchema),
    limit: limitSchema('Requests'),
    before: beforeSchema(approvalIdSchema),
  },
  { additionalProperties: false },
)

const reply = Type.Object(
  {
    approvals: Type.Array(approvalSchema, { description: 'Newest first.' }),
    next: nextSchema,
  },
  { title: 'ApprovalPage' },
)

const schema = {
  operationId: 'listApprovals',
  summary: 'List requests for approval',
  description:
    'Callers that may approve see all requests; other callers see their own. Requests in every state are listed unless a ' +
    'state is named. Listing is an audit event, as is every call about approvals.',
  tags: ['approvals'],
  security: [{ accessToken: [] }],
  querystring,
  response: { 200: reply },
  'x-problems': [...guardedProblems, 'property_unknown'],
  'x-reply-examples': {
    page: { summary: 'A page', value: { approvals: [exampleApproval], next: exampleApproval.id } },
    none: { summary: 'Nothing', value: { approvals: [] } },
  },
} as const

/** GET /v1/approvals */
export const listApprovals = operation({
  method: 'GET',
  url: '/v1/approvals',
  schema,
  serve:
    ({ approvals }: { approvals: ApprovalVerbs }) =>
    async request => {
      const { state, limit: limitText = usualPageSize, before } = request.query
      const limit = Number(limitText)
      const page = await approvals.list(principalOf(request), { requestId: request.id, state, before, limit })
      return { approvals: page.map(presentApproval), ...nextOf(page, limit, ({ id }) => id) } as never
    },
})
