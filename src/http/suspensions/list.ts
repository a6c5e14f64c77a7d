import Type from 'typebox'
import { maxPageSize } from '../../vault/admission/open-action.ts'
import type { SuspensionVerbs } from '../../vault/admission/suspensions.ts'
import { principalOf } from '../auth/authentication.ts'
import { operation } from '../operation.ts'
import { limitSchema } from '../pages.ts'
import { guardedProblems } from '../problems/by-operation.ts'

const querystring = Type.Object({ limit: limitSchema('Suspensions', maxPageSize) }, { additionalProperties: false })

const reply = Type.Object(
  {
    suspensions: Type.Array(
      Type.Object(
        { issuer: Type.String(), subject: Type.String(), suspendedAt: Type.String({ format: 'date-time' }) },
        { title: 'Suspension' },
      ),
      { description: 'Those in force, oldest first.' },
    ),
  },
  { title: 'SuspensionList' },
)

const schema = {
  operationId: 'listSuspensions',
  summary: 'List suspended principals',
  description:
    'Principals that asked for more than their daily budget. Each of their privileged calls is refused until an ' +
    'administrator lifts the suspension.',
  tags: ['suspensions'],
  security: [{ accessToken: [] }],
  querystring,
  response: { 200: reply },
  'x-problems': [...guardedProblems, 'property_unknown', 'role_not_permitted'],
  'x-reply-examples': {
    one: {
      summary: 'One',
      value: {
        suspensions: [
          { issuer: 'https://idp.example.com/', subject: 'casey', suspendedAt: '2026-03-01T09:14:07.512Z' },
        ],
      },
    },
    none: { summary: 'Nobody', value: { suspensions: [] } },
  },
} as const

/** GET /v1/suspensions */
export const listSuspensions = operation({
  method: 'GET',
  url: '/v1/suspensions',
  schema,
  serve:
    ({ suspensions }: { suspensions: SuspensionVerbs }) =>
    async request => {
      const limit = Number(request.query.limit ?? maxPageSize)
      const listed = await suspensions.list(principalOf(request), { requestId: request.id, limit })
      return {
        suspensions: listed.map(({ suspendedAt, ...who }) => ({ ...who, suspendedAt: suspendedAt.toISOString() })),
      }
    },
})
