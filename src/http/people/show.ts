import Type from 'typebox'
import type { ShowPerson } from '../../vault/people/show.ts'
import { principalOf } from '../auth/authentication.ts'
import { operation } from '../operation.ts'
import { bodyProblems } from '../problems/by-operation.ts'
import { examplePerson, exampleUserId, personProblems, shownPersonSchema, userIdSchema } from './schemas.ts'

const common = {
  tags: ['people'],
  security: [{ accessToken: [] }],
  response: { 200: shownPersonSchema },
  'x-reply-examples': { person: { summary: 'Three logins, seen once', value: examplePerson } },
} as const

const schema = {
  operationId: 'showPerson',
  summary: 'Show what is held about a person',
  description:
    'Rows by month, tokens, quarantined messages that name the person, copies that were sent elsewhere, who was given one of the tokens or ' +
    'its value, and a legal hold. No value is given. An event, which names the person by a keyed digest. A user id of other ' +
    'characters than a path may have without percent-encoding goes with `POST /v1/people/show`, which also keeps it out of the logs of proxies.',
  params: Type.Object({ userId: userIdSchema }),
  'x-problems': personProblems,
  ...common,
} as const

/** GET /v1/people/{userId} */
export const showPerson = operation({
  method: 'GET',
  url: '/v1/people/:userId',
  schema,
  serve:
    ({ showPerson: show }: { showPerson: ShowPerson }) =>
    async request =>
      (await show(principalOf(request), { requestId: request.id, userId: request.params.userId })) as never,
})

const lookUpSchema = {
  operationId: 'lookUpPerson',
  summary: 'Show what is held about a person, whatever the user id looks like',
  description: 'As `showPerson`, with the user id in the body: any characters, and nothing of it in a URL.',
  body: Type.Object({ userId: userIdSchema }, { title: 'LookUpPersonRequest', additionalProperties: false }),
  'x-problems': [...personProblems, ...bodyProblems],
  'x-request-examples': { person: { summary: 'By user id', value: { userId: exampleUserId } } },
  ...common,
} as const

/** POST /v1/people/show */
export const lookUpPerson = operation({
  method: 'POST',
  url: '/v1/people/show',
  schema: lookUpSchema,
  serve:
    ({ showPerson: show }: { showPerson: ShowPerson }) =>
    async request =>
      (await show(principalOf(request), { requestId: request.id, userId: request.body.userId })) as never,
})
