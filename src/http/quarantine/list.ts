import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import Type from 'typebox'
import { maxQuarantinePage, type QuarantineVerbs } from '../../vault/quarantine/verbs.ts'
import { principalOf } from '../auth/authentication.ts'
import { capabilityProblems } from '../problems/by-operation.ts'
import { entryIdSchema, entrySchema, exampleEntry, reasonSchema, stateSchema } from './schemas.ts'

const defaultLimit = 100

const querystring = Type.Object(
  {
    state: Type.Optional(stateSchema),
    reason: Type.Optional(reasonSchema),
    // A query is text, and nothing coerces it.
    limit: Type.Optional(
      Type.String({
        pattern: '^([1-9][0-9]{0,2}|1000)$',
        description: `Entries a page, 1 to ${maxQuarantinePage}; ${defaultLimit} by default.`,
      }),
    ),
    after: Type.Optional(entryIdSchema),
  },
  { additionalProperties: false },
)

const reply = Type.Object(
  {
    entries: Type.Array(entrySchema, { description: 'Newest first.' }),
    next: Type.Optional(Type.String({ description: '`after` of the next page; absent on the last one.' })),
  },
  { title: 'QuarantinePage' },
)

const schema = {
  operationId: 'listQuarantine',
  summary: 'List what is no event',
  description: 'Entries in one state, `quarantined` unless another is asked for. Nothing of a body is told.',
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
export const listRoute: FastifyPluginAsyncTypebox<{ quarantine: QuarantineVerbs }> = async (app, { quarantine }) => {
  app.get('/v1/quarantine', { schema }, async request => {
    const { state = 'quarantined', reason, limit: limitText, after } = request.query
    const limit = limitText === undefined ? defaultLimit : Number(limitText)
    const filter = { state, reason }
    const entries = await quarantine.list(principalOf(request), { requestId: request.id, filter, limit, after })
    return { entries, ...(entries.length < limit ? {} : { next: entries.at(-1)!.id }) } as never
  })
}
