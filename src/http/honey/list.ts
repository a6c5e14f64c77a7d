import Type from 'typebox'
import type { HoneyVerbs } from '../../vault/honey/honey-tokens.ts'
import { principalOf } from '../auth/authentication.ts'
import { operation } from '../operation.ts'
import { beforeSchema, limitSchema, nextOf, nextSchema, usualPageSize } from '../pages.ts'
import { capabilityProblems } from '../problems/by-operation.ts'
import { exampleHoneyId, honeyIdSchema } from './schemas.ts'

const meeting = Type.Object(
  {
    at: Type.String({ format: 'date-time' }),
    issuer: Type.String(),
    subject: Type.String(),
    requestId: Type.String({ description: 'Id of the request; the event of what it did has it, too.' }),
    sequence: Type.Integer({ minimum: 0, description: 'Place of the event `honey` in the audit log.' }),
  },
  { title: 'HoneyMeeting' },
)

const listed = Type.Object(
  {
    id: honeyIdSchema,
    field: Type.String(),
    token: Type.String({ description: 'As it was made. Once its key was rotated, its present one is watched, too.' }),
    note: Type.String(),
    issuer: Type.String({ description: 'Issuer of who made it.' }),
    subject: Type.String({ description: 'Who made it.' }),
    createdAt: Type.String({ format: 'date-time' }),
    retiredAt: Type.Optional(Type.String({ format: 'date-time' })),
    met: Type.Array(meeting, { description: 'Who met it: the ten newest times, newest first.' }),
  },
  { title: 'HoneyToken' },
)

const who = { issuer: 'https://idp.example.com/', subject: 'sasha' }
const schema = {
  operationId: 'listHoney',
  summary: 'List honey tokens',
  description: 'Honey tokens, newest first, with who met them.',
  tags: ['honey'],
  security: [{ accessToken: [] }],
  querystring: Type.Object(
    { limit: limitSchema('Honey tokens'), before: beforeSchema(honeyIdSchema) },
    { additionalProperties: false },
  ),
  response: { 200: Type.Object({ honey: Type.Array(listed), next: nextSchema }, { title: 'HoneyPage' }) },
  'x-problems': [...capabilityProblems, 'property_unknown'],
  'x-reply-examples': {
    page: {
      summary: 'A page',
      value: {
        honey: [
          {
            ...{ id: exampleHoneyId, field: 'ip', token: 'ip_v1_Zk3qW0b9Jv2mX7tR4nYc8A' },
            ...{ note: 'laid out in the export of the fraud team', ...who, createdAt: '2026-03-01T09:14:07.512Z' },
            met: [
              {
                at: '2026-03-04T22:01:55.020Z',
                ...{ issuer: who.issuer, subject: 'casey', requestId: '0312741a-2ecd-45c0-8416-45845e6b8292' },
                sequence: 4711,
              },
            ],
          },
        ],
      },
    },
    none: { summary: 'None', value: { honey: [] } },
  },
} as const

/** GET /v1/honey */
export const listHoney = operation({
  method: 'GET',
  url: '/v1/honey',
  schema,
  needs: 'honey',
  serve:
    ({ honey }: { honey: HoneyVerbs }) =>
    async request => {
      const { limit: limitText = usualPageSize, before } = request.query
      const limit = Number(limitText)
      const page = await honey.list(principalOf(request), { requestId: request.id, before, limit })
      return {
        honey: page.map(({ createdAt, retiredAt, met, ...token }) => ({
          ...token,
          createdAt: createdAt.toISOString(),
          ...(retiredAt === undefined ? {} : { retiredAt: retiredAt.toISOString() }),
          met: met.map(({ at, ...meeting }) => ({ at: at.toISOString(), ...meeting })),
        })),
        ...nextOf(page, limit, ({ id }) => id),
      }
    },
})
