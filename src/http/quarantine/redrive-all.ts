import Type from 'typebox'
import { maxPageSize } from '../../vault/admission/open-action.ts'
import type { QuarantineVerbs } from '../../vault/quarantine/verbs.ts'
import { principalOf } from '../auth/authentication.ts'
import { idempotencyHeaders, idempotencyProblems } from '../idempotency/header.ts'
import { operation } from '../operation.ts'
import { beforeSchema, nextSchema } from '../pages.ts'
import { bodyProblems, capabilityProblems } from '../problems/by-operation.ts'
import { entryIdSchema, exampleEntry, reasonSchema, redriveRequestedSchema } from './schemas.ts'

const schema = {
  operationId: 'redriveQuarantine',
  summary: 'Have a worker try many entries again',
  description:
    `Marks the newest entries in the state \`quarantined\`, at most ${maxPageSize} in a call. Repeat the call with \`before\` ` +
    'until the reply has no `next`. Each entry is then marked once, even if it is quarantined again meanwhile.',
  tags: ['quarantine'],
  security: [{ accessToken: [] }],
  headers: idempotencyHeaders,
  body: Type.Object(
    { reason: Type.Optional(reasonSchema), before: beforeSchema(entryIdSchema) },
    { title: 'RedriveQuarantineRequest', additionalProperties: false },
  ),
  response: {
    200: Type.Object({ requested: redriveRequestedSchema, next: nextSchema }, { title: 'RedriveQuarantineReply' }),
  },
  'x-problems': [...capabilityProblems, ...idempotencyProblems, ...bodyProblems],
  'x-request-examples': {
    all: { summary: 'Whatever the reason', value: {} },
    reason: { summary: 'Of one reason, after a fix', value: { reason: 'ip_invalid' } },
    older: { summary: 'The entries older than those of the call before', value: { before: exampleEntry.id } },
  },
  'x-reply-examples': {
    requested: { summary: 'Requested, and these were all', value: { requested: 118 } },
    more: { summary: 'Requested, and there are more', value: { requested: 1000, next: exampleEntry.id } },
  },
} as const

/** POST /v1/quarantine/redrive */
export const redriveQuarantine = operation({
  method: 'POST',
  url: '/v1/quarantine/redrive',
  schema,
  needs: 'quarantine',
  serve:
    ({ quarantine }: { quarantine: QuarantineVerbs }) =>
    async request => {
      const { reason, before } = request.body
      return await quarantine.redriveAll(principalOf(request), { requestId: request.id, reason, before })
    },
})
