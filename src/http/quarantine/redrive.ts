import Type from 'typebox'
import type { QuarantineVerbs } from '../../vault/quarantine/verbs.ts'
import { principalOf } from '../auth/authentication.ts'
import { idempotencyHeaders, idempotencyProblems } from '../idempotency/header.ts'
import { operation } from '../operation.ts'
import { capabilityProblems, ignoredBodyProblems } from '../problems/by-operation.ts'
import { entryParams, redriveRequestedSchema } from './schemas.ts'

const schema = {
  operationId: 'redriveQuarantined',
  summary: 'Have a worker try one entry again',
  description:
    'Marks the entry. A worker then processes its body like a message and stores the result exactly once; the state of the ' +
    'entry says what became of it. Asking again changes nothing.',
  tags: ['quarantine'],
  security: [{ accessToken: [] }],
  params: entryParams,
  headers: idempotencyHeaders,
  response: { 200: Type.Object({ requested: redriveRequestedSchema }, { title: 'RedriveReply' }) },
  'x-problems': [
    ...capabilityProblems,
    ...idempotencyProblems,
    ...ignoredBodyProblems,
    'quarantine_unknown',
    'quarantine_settled',
  ],
  'x-reply-examples': { requested: { summary: 'Requested', value: { requested: 1 } } },
} as const

/** POST /v1/quarantine/{id}/redrive */
export const redriveQuarantined = operation({
  method: 'POST',
  url: '/v1/quarantine/:id/redrive',
  schema,
  needs: 'quarantine',
  serve:
    ({ quarantine }: { quarantine: QuarantineVerbs }) =>
    async request => {
      await quarantine.redrive(principalOf(request), { requestId: request.id, id: request.params.id })
      return { requested: 1 }
    },
})
