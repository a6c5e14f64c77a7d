import Type from 'typebox'
import type { QuarantineVerbs } from '../../vault/quarantine/verbs.ts'
import { principalOf } from '../auth/authentication.ts'
import { operation } from '../operation.ts'
import { beforeSchema, limitSchema, nextOf, nextSchema, usualPageSize } from '../pages.ts'
import { capabilityProblems } from '../problems/by-operation.ts'
import { entryIdSchema, entrySchema, exampleEntry, reasonSchema, stateSchema } from './schemas.ts'

const querystring = Type.Object(
  {
    state: Type.Optional(stateSchema),
    reason: Type.Optional(reasonSchema),
    limit: limitSchema('Entries'),
    before: beforeSchema(entryIdSchema),
  },
  { additionalProperties: false },
)

const reply = Type.Object(
  {
    entries: Type.Array(entrySchema, { description: 'Newest first.' }),
    next: nextSchema,
  },
  { title: 'QuarantinePage' },
)

const schema = {
  operationId: 'listQuarantine',
  summary: 'List quarantined messages',
  description: 'Entries in one state, `quarantined` unless another is named. Of a body, the list shows only the size.',
  tags: ['quarantine'],
  security: [{ accessToken: [] }],
  querystring,
  response: { 200: reply },
  'x-problems': [...capabilityProblems, 'property_unknown'],
  'x-reply-examples': {
    page: { summary: 'A page', value: { entries: [exampleEntry], next: exampleEntry.id } },
    none: { summary: 'Nothing', value: { entries: [] } },
  },
} as const

/** GET /v1/quarantine */
export const listQuarantine = operation({
  method: 'GET',
  url: '/v1/quarantine',
  schema,
  serve:
    ({ quarantine }: { quarantine: QuarantineVerbs }) =>
    async request => {
      const { state = 'quarantined', reason, limit: limitText = usualPageSize, before } = request.query
      const limit = Number(limitText)
      const filter = { state, reason }
      const entries = await quarantine.list(principalOf(request), { requestId: request.id, filter, limit, before })
      return { entries, ...nextOf(entries, limit, ({ id }) => id) } as never
    },
})
