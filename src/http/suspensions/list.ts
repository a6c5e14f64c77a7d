import Type from 'typebox'
import type { SuspensionVerbs } from '../../vault/admission/suspensions.ts'
import { principalOf } from '../auth/authentication.ts'
import { operation } from '../operation.ts'
import { limitSchema, nextOf, nextSchema, usualPageSize } from '../pages.ts'
import { guardedProblems } from '../problems/by-operation.ts'

const placeSchema = Type.String({ pattern: '^[0-9]{1,17}-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' })

const querystring = Type.Object(
  {
    limit: limitSchema('Suspensions'),
    before: Type.Optional(Type.String({ ...placeSchema, description: 'The `next` of the page before.' })),
  },
  { additionalProperties: false },
)

const reply = Type.Object(
  {
    suspensions: Type.Array(
      Type.Object(
        { issuer: Type.String(), subject: Type.String(), suspendedAt: Type.String({ format: 'date-time' }) },
        { title: 'Suspension' },
      ),
      { description: 'Those in force, newest first.' },
    ),
    next: nextSchema,
  },
  { title: 'SuspensionPage' },
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
    page: {
      summary: 'A page',
      value: {
        suspensions: [
          { issuer: 'https://idp.example.com/', subject: 'casey', suspendedAt: '2026-03-01T09:14:07.512Z' },
        ],
        next: '1772356447512000-5b0e7a52-6f1c-4d39-9a40-0d6c5b1f2e77',
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
      const { limit: limitText = usualPageSize, before } = request.query
      const limit = Number(limitText)
      const page = await suspensions.list(principalOf(request), { requestId: request.id, before, limit })
      return {
        suspensions: page.map(({ issuer, subject, suspendedAt }) => {
          return { issuer, subject, suspendedAt: suspendedAt.toISOString() }
        }),
        ...nextOf(page, limit, ({ place }) => place),
      }
    },
})
