import Type from 'typebox'
import { maxPageSize, purposePattern, ticketPattern } from '../../vault/admission/open-action.ts'
import type { SearchAudit } from '../../vault/evidence/search.ts'
import { principalOf } from '../auth/authentication.ts'
import { operation } from '../operation.ts'
import { usualPageSize } from '../pages.ts'
import { bodyProblems, capabilityProblems } from '../problems/by-operation.ts'
import { purposeSchema } from '../tokens/schemas.ts'
import { exampleEvent, leafHashSchema, sequenceSchema } from './schemas.ts'

const criterion = (description: string, bounds: { pattern?: string; maxLength?: number } = { maxLength: 1024 }) =>
  Type.Optional(Type.String({ description, minLength: 1, ...bounds }))

/** Words of operations and codes: no digit, so that no value can stand in them. */
const wordPattern = '^[a-z]+(_[a-z]+)*$'
const time = (description: string) =>
  criterion(`${description}, RFC 3339 with an offset and at most milliseconds.`, { maxLength: 40 })

const where = Type.Object(
  {
    token: criterion('A token as it stands in user_logins; a UUID or an address goes with its field.', {}),
    value: criterion(
      'A value of the field that `field` names. The search looks for every token that it has, or had before a rotation of keys.',
      {},
    ),
    field: criterion(
      'Field that the call was about, such as `device_id`; beside `token` or `value`, the field of these.',
    ),
    subject: criterion('Subject (`sub`) of the caller.'),
    issuer: criterion('Issuer (`iss`) of the caller.'),
    actor: criterion('Subject of who acted for the caller (`act` of RFC 8693).'),
    actorIssuer: criterion('Issuer of who acted for the caller: that of the caller where `act` names none.'),
    client: criterion('Application (`azp`, or `client_id`) that the access token was issued to.'),
    purpose: criterion('Purpose that the caller stated.', { pattern: purposePattern }),
    ticket: criterion('Ticket under which the caller acted.', { pattern: ticketPattern }),
    person: criterion('Keyed digest of a user id, as the answer about a person gives it.', { maxLength: 22 }),
    type: criterion('What was done: `detokenize`, `tokenize`, `audit_search` …', {
      pattern: wordPattern,
      maxLength: 64,
    }),
    decision: criterion('`permitted`, `refused` or `pending`.', { pattern: '^(permitted|refused|pending)$' }),
    code: criterion('Why the whole call was refused.', { pattern: wordPattern, maxLength: 64 }),
    from: time('Events of this time and later'),
    to: time('Events earlier than this time'),
  },
  {
    additionalProperties: false,
    minProperties: 1,
    description:
      'What is looked for, at least one of it: events that meet all of it are found. `token` and `value` exclude each other.',
  },
)

const body = Type.Object(
  {
    purpose: purposeSchema,
    where,
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
    channel: text('How the call came: `http`, or `cli` for what was done with keys.'),
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
    person: text('Keyed digest of the user id of the person whose data it is about.'),
    concerns: principal('Principal that the event is about.'),
    sought: Type.Optional(
      Type.Object(
        {},
        {
          additionalProperties: Type.Union([Type.String(), Type.Literal(true)]),
          description:
            'Of `audit_search`: what was looked for, by criterion; `true` stands for a text that could be a value.',
        },
      ),
    ),
    policy: text('Digest of the policy that decided.'),
    count: count('Refused calls that the event stands for, where that are several.'),
    until: text('When the last of them was made, in UTC.'),
    keys: Type.Optional(
      Type.Array(Type.String(), { description: 'Of `key_create`, `key_promote` …: the keys that it was done with.' }),
    ),
    months: Type.Optional(
      Type.Array(Type.String(), {
        description: 'Of `rows_archive`, `rows_recall` …: the months of rows, as `2025-11`.',
      }),
    ),
    kek: text('Of `key_rewrap`: the key-encryption key that all keys are under since.'),
  },
  {
    title: 'FoundAuditEvent',
    description: 'The members of the event that have the expected type. Its proof holds its exact bytes.',
  },
)

const reply = Type.Object(
  {
    events: Type.Array(event, { description: 'Newest first.' }),
    next: Type.Optional(
      Type.Integer({
        description:
          '`before` of the next page; absent on the last one. A page with fewer events than `limit`, or none, may have it: there ' +
          'was too much to look through in one call.',
      }),
    ),
  },
  { title: 'SearchAuditReply' },
)

const purpose = 'data_subject_request'

const schema = {
  operationId: 'searchAudit',
  summary: 'Search the audit log',
  description:
    'Lists the events that meet every criterion of `where`, newest first: who got a value or its token, what a principal did, what was done ' +
    'for a ticket, on a day. Searches are events, too, so later searches find them. The log holds neither tokens nor values, only ' +
    'keyed digests of tokens; a search adds nothing else.',
  tags: ['evidence'],
  security: [{ accessToken: [] }],
  body,
  response: { 200: reply },
  'x-problems': [...capabilityProblems, ...bodyProblems, 'purpose_missing', 'purpose_invalid', 'budget_exceeded'],
  'x-request-examples': {
    value: {
      summary: 'Who saw a value',
      value: { purpose, where: { field: 'device_id', value: '38400000-8cf0-11bd-b23e-10b96e4ef00d' } },
    },
    token: {
      summary: 'Who saw what a token stands for',
      value: { purpose, where: { token: 'ip_v1_WeHPqziSnryoK7aMD4uLDg' }, limit: 10 },
    },
    principal: {
      summary: 'What somebody did on a day',
      value: {
        purpose: 'internal_audit',
        where: { subject: 'casey', from: '2026-03-03T00:00:00+01:00', to: '2026-03-04T00:00:00+01:00' },
      },
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
    const { purpose, where, before, limit = usualPageSize } = request.body
    const search = { requestId: request.id, purpose, where, before, limit }
    const { events, next } = await verbs.searchAudit(principalOf(request), search)
    return { events, ...(next === undefined ? {} : { next }) } as never
  },
})
