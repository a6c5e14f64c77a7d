import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import Type from 'typebox'
import type { ApprovalVerbs } from '../../vault/admission/approvals.ts'
import { principalOf } from '../auth/authentication.ts'
import { pageLimit } from '../page-limit.ts'
import { guardedProblems } from '../problems/by-operation.ts'
import { approvalIdSchema, approvalSchema, approvalStateSchema, exampleApproval, showApproval } from './schemas.ts'

const defaultLimit = 100

const querystring = Type.Object(
  {
    state: Type.Optional(approvalStateSchema),
    limit: Type.Optional(pageLimit('Requests', defaultLimit)),
    before: Type.Optional(approvalIdSchema),
  },
  { additionalProperties: false },
)

const reply = Type.Object(
  {
    approvals: Type.Array(approvalSchema, { description: 'Newest first.' }),
    next: Type.Optional(Type.String({ description: '`before` of the next page; absent on the last one.' })),
  },
  { title: 'ApprovalPage' },
)

const schema = {
  operationId: 'listApprovals',
  summary: 'List requests for approval',
  description:
    'All of them for who may approve, one’s own for everybody else; in every state unless one is asked for. Listing is ' +
    'evidence, as every call here is.',
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
export const listApprovalsRoute: FastifyPluginAsyncTypebox<{ approvals: ApprovalVerbs }> = async (
  app,
  { approvals },
) => {
  app.get('/v1/approvals', { schema }, async request => {
    const { state, limit: limitText, before } = request.query
    const limit = limitText === undefined ? defaultLimit : Number(limitText)
    const page = await approvals.list(principalOf(request), { requestId: request.id, state, before, limit })
    return { approvals: page.map(showApproval), ...(page.length < limit ? {} : { next: page.at(-1)!.id }) } as never
  })
}
