import { errorCatalogue, TokenvaultError } from '../../errors.ts'
import { BudgetExceeded } from '../../vault/admission/open-action.ts'
import { appearance, BatchRefused, describeProblem, type ProblemCode } from '../problems/problem.ts'
import { problemSchema } from '../problems/schemas.ts'

type Json = Record<string, unknown>

const exampleRequestId = '0f8e3c52-7f0b-4a53-9d57-5c2a9a1f6d11'

/** What the document says before its operations. @param version of the product */
export function openApiHead(version: string): Json {
  return {
    openapi: '3.1.0',
    info: {
      title: 'tokenvault',
      version,
      summary: 'Reversible tokens for personal data.',
      description: [
        'tokenvault replaces personal values (IP addresses, device ids) with tokens. Equal values have equal tokens, so',
        'analysts can count and join without seeing a value. This API gives values back to callers that may have them,',
        'and every call leaves evidence.',
        '',
        '**To begin:** get an access token (a JWT) from your issuer, with the role `investigator`; send it as',
        '`Authorization: Bearer …`; name the `purpose` of each call.',
        '',
        '**Batches** take up to 10,000 items and answer each item on its own, in the order of the request. An item that',
        'cannot be answered carries an `error.code`; the call as a whole still succeeds, unless `atomic` was asked for.',
        '',
        '**Errors** of a whole call are problem details (RFC 9457) with a stable `code`: decide by the code, show',
        '`remedy` to people, and give `requestId` to the operator. Each is listed at `ErrorCode` and `ItemErrorCode`.',
        '',
        '**Repeats:** operations that change something take an `Idempotency-Key`; a repeat under the same key changes nothing.',
        'All other operations ignore the header: a reply that holds values is never kept, so a repeat is a call of its own,',
        'with evidence of its own. A call that needs an approval gets the same approval while its request is open.',
      ].join('\n'),
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    servers: [{ url: '/', description: 'The server that served this document' }],
    tags: [
      { name: 'tokens', description: 'From tokens to values and back. Every call is privileged and audited.' },
      {
        name: 'approvals',
        description: 'Calls that need a second person: `detokenize` asks, the role `approver` decides here.',
      },
      { name: 'suspensions', description: 'Principals that exceeded a daily budget, for the role `administrator`.' },
      { name: 'honey', description: 'Tokens that nobody has a reason to open, for the role `security`.' },
      {
        name: 'keys',
        description: 'Which keys there are, for the role `administrator`. They are changed on the command line.',
      },
      { name: 'quarantine', description: 'Messages that are not valid events, for the role `operator`.' },
      {
        name: 'people',
        description: 'What is held about a person, legal holds, and erasure, for the role `privacy`.',
      },
      { name: 'evidence', description: 'Who asked for what, with proofs, for the role `auditor`.' },
      { name: 'health', description: 'For the platform that runs the process. They need no access token.' },
    ],
    components: {
      securitySchemes: {
        accessToken: {
          type: 'http',
          scheme: 'bearer',
          bearerFormat: 'JWT',
          description:
            'A JWT signed by the configured issuer with a `kid` of its JWK Set. It must hold `iss`, `aud`, `sub`, `exp` ' +
            'and `iat`. Role names are in `roles`, or in the claims that the policy names.',
        },
      },
    },
  }
}

/**
 * Completes the document that is collected from the routes: problem replies with an example for every code,
 * examples of bodies, and schemas with a title as named components. Changes the document in place.
 */
export function completeDocument(document: Json): Json {
  const used = new Set<ProblemCode>()
  const schemas: Json = {}
  for (const operation of operationsOf(document)) {
    const codes = take<readonly ProblemCode[]>(operation, 'x-problems') ?? []
    for (const code of codes) used.add(code)
    const responses = operation['responses'] as Record<string, Json>
    describeBody(operation['requestBody'] as Json | undefined, take(operation, 'x-request-examples'), schemas)
    describeBody(responses['200'], take(operation, 'x-reply-examples'), schemas)
    const replayed = isIdempotent(operation) ? { 'Idempotency-Replayed': headerReference('IdempotencyReplayed') } : {}
    Object.assign(responses['200']!, { description: operation['summary'], headers: { ...headersOf(200), ...replayed } })
    const accepted = take<{ description: string; examples: Json }>(operation, 'x-accepted')
    if (accepted !== undefined) {
      describeBody(responses['202'], accepted.examples, schemas)
      Object.assign(responses['202']!, { description: accepted.description, headers: headersOf(202) })
    }
    for (const status of new Set(codes.map(code => appearance[code]).sort())) {
      responses[status] = problemResponse(
        status,
        codes.filter(code => appearance[code] === status),
      )
    }
  }
  nameSchemas(problemSchema, schemas)
  Object.assign(document['components'] as Json, {
    schemas: sorted(schemas),
    examples: sorted(Object.fromEntries([...used].map(code => [code, exampleOf(code)]))),
    headers: headerComponents,
  })
  return document
}

function operationsOf(document: Json): Json[] {
  return Object.values(document['paths'] as Record<string, Record<string, Json>>).flatMap(path => Object.values(path))
}

function isIdempotent(operation: Json): boolean {
  const parameters = (operation['parameters'] ?? []) as readonly Json[]
  return parameters.some(({ name }) => name === 'Idempotency-Key')
}

function take<T>(operation: Json, key: string): T | undefined {
  const value = operation[key] as T | undefined
  delete operation[key]
  return value
}

function describeBody(holder: Json | undefined, examples: unknown, schemas: Json): void {
  const media = (holder?.['content'] as Record<string, Json> | undefined)?.['application/json']
  if (media !== undefined) Object.assign(media, { schema: nameSchemas(media['schema'], schemas), examples })
}

function problemResponse(status: number, codes: readonly ProblemCode[]): Json {
  return {
    description: codes.map(code => `\`${code}\`: ${errorCatalogue[code].meaning}`).join(' '),
    headers: headersOf(status, codes),
    content: {
      'application/problem+json': {
        schema: { $ref: '#/components/schemas/Problem' },
        examples: Object.fromEntries(codes.map(code => [code, { $ref: `#/components/examples/${code}` }])),
      },
    },
  }
}

function exampleOf(code: ProblemCode): Json {
  const error =
    code === 'batch_refused'
      ? new BatchRefused([{ index: 1, code: 'token_unknown' }])
      : code === 'budget_exceeded'
        ? new BudgetExceeded('minute', 17)
        : new TokenvaultError(code)
  return { summary: errorCatalogue[code].meaning, value: describeProblem(error, exampleRequestId) }
}

const headerComponents = {
  RequestId: {
    description: 'Id that the API gave the request; an id that the caller sends is ignored.',
    schema: { type: 'string', format: 'uuid' },
  },
  IdempotencyReplayed: {
    description:
      '`true` if this is the stored reply to an earlier request with the same Idempotency-Key; nothing was done again.',
    schema: { type: 'string', enum: ['true'] },
  },
  RetryAfter: { description: 'Seconds to wait before trying again.', schema: { type: 'integer', minimum: 0 } },
  WwwAuthenticate: { description: 'The scheme to use: `Bearer`.', schema: { type: 'string' } },
}

function headersOf(status: number, codes: readonly ProblemCode[] = []): Json {
  const retryAfter = status === 429 || status === 503 || codes.includes('idempotency_in_progress')
  return {
    'X-Request-Id': headerReference('RequestId'),
    ...(retryAfter ? { 'Retry-After': headerReference('RetryAfter') } : {}),
    ...(status === 401 ? { 'WWW-Authenticate': headerReference('WwwAuthenticate') } : {}),
  }
}

function headerReference(name: keyof typeof headerComponents): Json {
  return { $ref: `#/components/headers/${name}` }
}

/** Moves every schema that has a title into `schemas` and leaves a reference, so that client generators name it. */
function nameSchemas(node: unknown, schemas: Json): unknown {
  if (Array.isArray(node)) return node.map(member => nameSchemas(member, schemas))
  if (typeof node !== 'object' || node === null) return node
  const { title, ...rest } = node as Json
  const named = Object.fromEntries(Object.entries(rest).map(([key, member]) => [key, nameSchemas(member, schemas)]))
  // A property may be called title; then it is a schema and no text.
  if (typeof title !== 'string') return title === undefined ? named : { title: nameSchemas(title, schemas), ...named }
  schemas[title] = named
  return { $ref: `#/components/schemas/${title}` }
}

function sorted(entries: Json): Json {
  return Object.fromEntries(Object.entries(entries).sort(([a], [b]) => (a < b ? -1 : 1)))
}
