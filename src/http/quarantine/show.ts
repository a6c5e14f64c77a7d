import type { QuarantineVerbs } from '../../vault/quarantine/verbs.ts'
import { principalOf } from '../auth/authentication.ts'
import { operation } from '../operation.ts'
import { capabilityProblems } from '../problems/by-operation.ts'
import { entryParams, exampleEntry, shownEntrySchema } from './schemas.ts'

const schema = {
  operationId: 'showQuarantined',
  summary: 'Show one entry and the shape of its body',
  description:
    'The shape lists the properties of a login event, each with its JSON type in this body. It shows no value, no length of ' +
    'a value, and no name that a producer chose.',
  tags: ['quarantine'],
  security: [{ accessToken: [] }],
  params: entryParams,
  response: { 200: shownEntrySchema },
  'x-problems': [...capabilityProblems, 'quarantine_unknown'],
  'x-reply-examples': {
    entry: {
      summary: 'An event whose address is missing',
      value: {
        ...exampleEntry,
        reason: 'ip_missing',
        shape: {
          json: 'object',
          properties: [
            { name: 'user_id', type: 'string' },
            { name: 'ip', type: 'missing' },
          ],
          otherProperties: 1,
        },
      },
    },
  },
} as const

/** GET /v1/quarantine/{id} */
export const showQuarantined = operation({
  method: 'GET',
  url: '/v1/quarantine/:id',
  schema,
  serve:
    ({ quarantine }: { quarantine: QuarantineVerbs }) =>
    async request =>
      (await quarantine.show(principalOf(request), { requestId: request.id, id: request.params.id })) as never,
})
