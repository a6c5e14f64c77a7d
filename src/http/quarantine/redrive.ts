import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import Type from 'typebox'
import { maxQuarantinePage, type QuarantineVerbs } from '../../vault/quarantine/verbs.ts'
import { principalOf } from '../auth/authentication.ts'
import { idempotencyHeaders, idempotencyProblems } from '../idempotency/header.ts'
import { bodyProblems, capabilityProblems } from '../problems/by-operation.ts'
import { entryIdSchema, entryParams, reasonSchema } from './schemas.ts'

const requested = Type.Integer({ minimum: 0, description: 'Entries that a worker will try again.' })
const oneReply = Type.Object({ requested }, { title: 'RedriveReply' })
const allReply = Type.Object(
  { requested, next: Type.Optional(Type.String({ description: '`after` of the next call; absent after the last.' })) },
  { title: 'RedriveQuarantineReply' },
)

const oneSchema = {
  operationId: 'redriveQuarantined',
  summary: 'Have a worker try one entry again',
  description:
    'Marks the entry. A worker takes it the way that a message takes, and stores what it gives exactly once; ' +
    'the entry then says what became of it. Asking twice is no error.',
  tags: ['quarantine'],
  security: [{ accessToken: [] }],
  params: entryParams,
  headers: idempotencyHeaders,
  response: { 200: oneReply },
  'x-problems': [
    ...capabilityProblems,
    ...idempotencyProblems,
    // It takes no body; one that comes is read all the same before it is passed over.
    'body_malformed',
    'body_too_large',
    'content_type_unsupported',
    'quarantine_unknown',
    'quarantine_settled',
  ],
  'x-reply-examples': { requested: { summary: 'Requested', value: { requested: 1 } } },
} as const

const allSchema = {
  operationId: 'redriveQuarantine',
  summary: 'Have a worker try many entries again',
  description: `The oldest entries in the state \`quarantined\`, at most ${maxQuarantinePage} a call. Repeat with \`after\`, so that what fails again is not asked for for ever.`,
  tags: ['quarantine'],
  security: [{ accessToken: [] }],
  headers: idempotencyHeaders,
  body: Type.Object(
    { reason: Type.Optional(reasonSchema), after: Type.Optional(entryIdSchema) },
    { title: 'RedriveQuarantineRequest', additionalProperties: false },
  ),
  response: { 200: allReply },
  'x-problems': [...capabilityProblems, ...idempotencyProblems, ...bodyProblems],
  'x-request-examples': {
    all: { summary: 'Whatever the reason', value: {} },
    reason: { summary: 'Of one reason, after a fix', value: { reason: 'app_version_invalid' } },
  },
  'x-reply-examples': { requested: { summary: 'Requested', value: { requested: 118 } } },
} as const

/** POST /v1/quarantine/{id}/redrive and POST /v1/quarantine/redrive */
export const redriveRoutes: FastifyPluginAsyncTypebox<{ quarantine: QuarantineVerbs }> = async (app, options) => {
  const { quarantine } = options
  app.post('/v1/quarantine/:id/redrive', { schema: oneSchema }, async request => {
    await quarantine.redrive(principalOf(request), { requestId: request.id, id: request.params.id })
    return { requested: 1 }
  })
  app.post('/v1/quarantine/redrive', { schema: allSchema }, async request => {
    const { reason, after } = request.body
    return await quarantine.redriveAll(principalOf(request), { requestId: request.id, reason, after })
  })
}
