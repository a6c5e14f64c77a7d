import Type from 'typebox'
import type { HoldVerbs } from '../../vault/people/hold.ts'
import { principalOf } from '../auth/authentication.ts'
import { idempotencyHeaders, idempotencyProblems } from '../idempotency/header.ts'
import { operation } from '../operation.ts'
import { bodyProblems } from '../problems/by-operation.ts'
import { ticketSchema } from '../tokens/schemas.ts'
import { daySchema, exampleUserId, personProblems, reasonSchema, userIdSchema } from './schemas.ts'

const common = { tags: ['people'], security: [{ accessToken: [] }], headers: idempotencyHeaders } as const
const problems = [...personProblems, ...bodyProblems, ...idempotencyProblems, 'ticket_invalid'] as const

const schema = {
  operationId: 'holdPerson',
  summary: 'Put a legal hold on the data of a person',
  description:
    'Until the end of that day neither erasure nor retention removes anything of the person (`person_held`). A second call changes day and reason.',
  body: Type.Object(
    { userId: userIdSchema, until: daySchema, reason: reasonSchema, ticket: Type.Optional(ticketSchema) },
    { title: 'HoldPersonRequest', additionalProperties: false },
  ),
  response: { 200: Type.Object({ state: Type.Literal('held'), until: daySchema }, { title: 'HoldPersonReply' }) },
  'x-problems': problems,
  'x-request-examples': {
    hold: {
      summary: 'For a lawsuit',
      value: { userId: exampleUserId, until: '2027-12-31', reason: 'litigation', ticket: 'LEGAL-12' },
    },
  },
  'x-reply-examples': { held: { summary: 'Held', value: { state: 'held', until: '2027-12-31' } } },
  ...common,
} as const

/** POST /v1/people/hold */
export const holdPerson = operation({
  method: 'POST',
  url: '/v1/people/hold',
  schema,
  needs: 'people',
  serve:
    ({ holds }: { holds: HoldVerbs }) =>
    async request => {
      const { until } = request.body
      await holds.hold(principalOf(request), { requestId: request.id, ...request.body })
      return { state: 'held', until } as const
    },
})

const releaseSchema = {
  operationId: 'releasePerson',
  summary: 'Release a legal hold',
  description: 'From now on the data of the person may be erased, and ages as that of others.',
  body: Type.Object(
    { userId: userIdSchema, ticket: Type.Optional(ticketSchema) },
    { title: 'ReleasePersonRequest', additionalProperties: false },
  ),
  response: { 200: Type.Object({ state: Type.Literal('released') }, { title: 'ReleasePersonReply' }) },
  'x-problems': [...problems, 'person_not_held'],
  'x-request-examples': { release: { summary: 'By user id', value: { userId: exampleUserId } } },
  'x-reply-examples': { released: { summary: 'Released', value: { state: 'released' } } },
  ...common,
} as const

/** POST /v1/people/release */
export const releasePerson = operation({
  method: 'POST',
  url: '/v1/people/release',
  schema: releaseSchema,
  needs: 'people',
  serve:
    ({ holds }: { holds: HoldVerbs }) =>
    async request => {
      await holds.release(principalOf(request), { requestId: request.id, ...request.body })
      return { state: 'released' } as const
    },
})
