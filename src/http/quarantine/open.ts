import Type from 'typebox'
import type { QuarantineVerbs } from '../../vault/quarantine/verbs.ts'
import { principalOf } from '../auth/authentication.ts'
import { operation } from '../operation.ts'
import { bodyProblems, capabilityProblems } from '../problems/by-operation.ts'
import { purposeSchema } from '../tokens/schemas.ts'
import { entryIdSchema, entryParams, exampleEntry } from './schemas.ts'

const schema = {
  operationId: 'openQuarantined',
  summary: 'Open the body of one entry',
  description:
    'Privileged and audited as `detokenize` is: nothing is returned unless the evidence was committed first. A body may ' +
    'hold any value, so it takes roles that operate the quarantine and that reveal every field in full (`operator` and ' +
    '`investigator`), and counts against their budget, and as taken without an approval, as one value of each field.',
  tags: ['quarantine'],
  security: [{ accessToken: [] }],
  params: entryParams,
  body: Type.Object({ purpose: purposeSchema }, { title: 'OpenQuarantinedRequest', additionalProperties: false }),
  response: { 200: Type.Object({ id: entryIdSchema, body: Type.String() }, { title: 'OpenedBody' }) },
  'x-problems': [
    ...capabilityProblems,
    ...bodyProblems,
    'purpose_missing',
    'purpose_invalid',
    'budget_exceeded',
    'approval_required',
    'quarantine_unknown',
    'quarantine_settled',
    'quarantine_unreadable',
  ],
  'x-request-examples': { open: { summary: 'With a purpose', value: { purpose: 'producer_fault' } } },
  'x-reply-examples': {
    body: { summary: 'The text as it was sent', value: { id: exampleEntry.id, body: '{"user_id":"u-1","ip":"n/a"}' } },
  },
} as const

/** POST /v1/quarantine/{id}/open */
export const openQuarantined = operation({
  method: 'POST',
  url: '/v1/quarantine/:id/open',
  schema,
  serve:
    ({ quarantine }: { quarantine: QuarantineVerbs }) =>
    async request => {
      const { id } = request.params
      const { purpose } = request.body
      return { id, body: await quarantine.open(principalOf(request), { requestId: request.id, id, purpose }) }
    },
})
