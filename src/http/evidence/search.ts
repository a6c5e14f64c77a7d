import Type from 'typebox'
import { TokenvaultError } from '../../errors.ts'
import { maxPageSize } from '../../vault/admission/open-action.ts'
import type { SearchAudit, Sought } from '../../vault/evidence/search.ts'
import { principalOf } from '../auth/authentication.ts'
import { operation } from '../operation.ts'
import { nextOf, usualPageSize } from '../pages.ts'
import { bodyProblems, capabilityProblems } from '../problems/by-operation.ts'
import { purposeSchema } from '../tokens/schemas.ts'
import { exampleEvent, leafHashSchema, sequenceSchema } from './schemas.ts'

const body = Type.Object(
  {
    purpose: purposeSchema,
    token: Type.Optional(
      Type.String({
        description:
          'A token as it stands in user_logins; instead of a value. A UUID or an address goes with its field.',
      }),
    ),
    field: Type.Optional(Type.String({ description: 'Field of the value or token, such as `device_id`.' })),
    value: Type.Optional(
      Type.String({
        description: 'A value. The search looks for every token that it has, or had before a rotation of keys.',
      }),
    ),
    before: Type.Optional(
      Type.Integer({
        minimum: 0,
        maximum: Number.MAX_SAFE_INTEGER,
        description: 'Only events of a smaller sequence: the `next` of the page before.',
      }),
    ),
    limit: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: maxPageSize,
        description: `Events a page; ${usualPageSize} by default.`,
      }),
    ),
  },
  { title: 'SearchAuditRequest', additionalProperties: false },
)

const text = (description: string) => Type.Optional(Type.String({ description }))
const count = (description: string) => Type.Optional(Type.Integer({ description }))

const principal = (description: string) =>
  Type.Optional(Type.Object({ issuer: Type.Optional(Type.String()), subject: Type.String() }, { description }))

const fieldCounts = Type.Object({ requested: Type.Integer(), granted: Type.Integer(), level: Type.String() })

const event = Type.Object(
  {
    sequence: sequenceSchema,
    leafHash: leafHashSchema,
    format: count('Version of the format of the event; absent in the first one.'),
    type: text('What was done: `detokenize`, `tokenize`, `audit_search` …'),
    at: text('When, in UTC.'),
    requestId: text('Id that the API gave the request.'),
    issuer: text('Issuer (`iss`) of the caller.'),
    subject: text('Subject (`sub`) of the caller.'),
    roles: Type.Optional(Type.Array(Type.String())),
    client: text('Application (`azp`, or `client_id`) that the access token was issued to.'),
    actor: principal('Who acted for the caller (`act` of RFC 8693).'),
    jwt: text('Keyed digest of the id (`jti`) of the access token: equal for calls with the same one.'),
    channel: text('How the call came: `http`.'),
    purpose: text('Purpose that the caller stated.'),
    decision: text('`permitted`, `refused` or `pending`.'),
    code: text('Why it was refused.'),
    requested: count('Items asked for.'),
    granted: count('Items given.'),
    fields: Type.Optional(
      Type.Object(
        {},
        {
          additionalProperties: fieldCounts,
          description:
            'The same by field, and the level at which the policy permits the field: `full`, `partial` or `none`.',
        },
      ),
    ),
    partial: count('Items given in part only.'),
    mode: text(
      'Of `tokenize`: `look_up` where tokens were asked for, and nothing was to be stored. Of `detokenize`: `preview` where nothing was to be given.',
    ),
    scheme: text('Of `crosswalk`: how the values were hashed.'),
    ticket: text('Ticket under which the caller acted.'),
    approval: text('Id of the request for approval.'),
    concerns: principal('Principal that the event is about.'),
    policy: text('Digest of the policy that decided.'),
    count: count('Refused calls that the event stands for, where that are several.'),
    until: text('When the last of them was made, in UTC.'),
  },
  {
    title: 'FoundAuditEvent',
    description: 'The members of the event that have the expected type. Its proof holds its exact bytes.',
  },
)

const reply = Type.Object(
  {
    events: Type.Array(event, { description: 'Newest first.' }),
    next: Type.Optional(Type.Integer({ description: '`before` of the next page; absent on the last one.' })),
  },
  { title: 'SearchAuditReply' },
)

const value = { purpose: 'data_subject_request', field: 'device_id', value: '38400000-8cf0-11bd-b23e-10b96e4ef00d' }

const schema = {
  operationId: 'searchAudit',
  summary: 'Search the audit log for a token or a value',
  description:
    'Lists every event that names the token, or any token of the value, newest first: who got the value or its token, when and why. ' +
    'Searches are events, too, so later searches find them. The log holds neither tokens nor values, only keyed digests of ' +
    'tokens; a search adds nothing else.',
  tags: ['evidence'],
  security: [{ accessToken: [] }],
  body,
  response: { 200: reply },
  'x-problems': [...capabilityProblems, ...bodyProblems, 'purpose_missing', 'purpose_invalid', 'budget_exceeded'],
  'x-request-examples': {
    value: { summary: 'By value', value },
    token: {
      summary: 'By token',
      value: { purpose: 'data_subject_request', token: 'ip_v1_WeHPqziSnryoK7aMD4uLDg', limit: 10 },
    },
  },
  'x-reply-examples': {
    found: { summary: 'Seen once', value: { events: [exampleEvent] } },
    never: { summary: 'Never seen', value: { events: [] } },
  },
} as const

/** POST /v1/audit/search */
export const searchAudit = operation({
  method: 'POST',
  url: '/v1/audit/search',
  schema,
  serve: (verbs: { searchAudit: SearchAudit }) => async request => {
    const { purpose, before, limit = usualPageSize } = request.body
    const sought = readSought(request.body)
    const search = { requestId: request.id, purpose, sought, before, limit }
    const events = await verbs.searchAudit(principalOf(request), search)
    return { events, ...nextOf(events, limit, ({ sequence }) => sequence) } as never
  },
})

/** @throws TokenvaultError `request_invalid` unless it is a token, with or without its field, or a field and a value */
function readSought({ token, field, value }: { token?: string; field?: string; value?: string }): Sought {
  if (token !== undefined && value === undefined) return { token, field }
  if (token === undefined && field !== undefined && value !== undefined) return { field, value }
  throw new TokenvaultError(
    'request_invalid',
    'the body takes either token, with its field where it does not name it, or field and value',
  )
}
