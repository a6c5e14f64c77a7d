import fc from 'fast-check'
import type { Operation, Parameter, Schema } from './openapi-operations.ts'
import { type Corpus, junk, mutate, mutation, valuesOf } from './schema-values.ts'

/** One request as it is sent, and what is known of it. */
export interface FuzzRequest {
  readonly operationId: string
  readonly method: string
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: Buffer | undefined
  /** Which of the callers asks; undefined without a credential that is any good. */
  readonly caller: number | undefined
  /** The path is that of the operation, with parameters that its pattern takes. */
  readonly isRouted: boolean
}

const badCredentials = ['Bearer', 'Bearer x.y.z', 'Basic Y2FzZXk6c2VjcmV0', 'Bearer eyJhbGciOiJub25lIn0.e30.', '']
const otherMethods = ['HEAD', 'OPTIONS', 'TRACE', 'PUT', 'PATCH', 'DELETE', 'GET', 'POST', 'PROPFIND', 'PURGE', 'QUERY']
const mediaTypes = [
  ...[
    'application/json; charset=utf-8',
    'Application/JSON',
    'application/json\t;a=b',
    'application/json;',
    'application/json;;',
  ],
  ...[
    'text/plain',
    'application/xml',
    'application/x-www-form-urlencoded',
    'multipart/form-data; boundary=x',
    'json',
    '*/*',
    '',
  ],
  ...['application/json, text/plain', 'application/json; charset=utf-16', 'application/problem+json', '\t'],
]
const oddHeaders: readonly (readonly [string, string])[] = [
  ['accept', 'text/html'],
  ['accept', 'application/json;q=0'],
  ['accept-encoding', 'gzip, br;q=0.1, *'],
  ['content-encoding', 'gzip'],
  ['expect', 'something'],
  ['idempotency-key', 'a'],
  ['idempotency-key', ''],
  ['idempotency-key', 'x'.repeat(300)],
  ['idempotency-key', 'é'],
  ['if-none-match', '*'],
  ['if-modified-since', 'Thu, 01 Jan 2026 00:00:00 GMT'],
  ['range', 'bytes=0-1'],
  ['origin', 'https://attacker.test'],
  ['access-control-request-method', 'POST'],
  ['x-http-method-override', 'DELETE'],
  ['x-forwarded-for', "127.0.0.1, ' OR 1=1 --"],
  ['x-forwarded-host', 'attacker.test'],
  ['x-forwarded-proto', 'gopher'],
  ['x-original-url', '/admin'],
  ['forwarded', 'for="_attacker"'],
  ['x-request-id', 'chosen'],
  ['cookie', '__proto__=1; a=b'],
  ['accept-version', '9.9.9'],
  ['traceparent', '00-ffffffffffffffffffffffffffffffff-ffffffffffffffff-01'],
]
const oddSegments = [
  '',
  '.',
  '..',
  '%2e%2e',
  '..%2f..%2fetc%2fpasswd',
  '%2F',
  '%00',
  '%',
  '%zz',
  '%c0%af',
  '%ff',
  '%5c',
  '%252e',
  '*',
  ';a=b',
  '%0d%0aset-cookie:a=b',
  '__proto__',
  'constructor',
  '-1',
  '1e3',
  '9'.repeat(17),
  'x'.repeat(101),
  'x'.repeat(3000),
  '%F0%9F%92%A5',
  '%E2%80%AE',
]
const oddQueries = [
  '?',
  '?=',
  '?&&',
  '?__proto__=1',
  '?limit=1&limit=2',
  '?limit[]=1',
  '?limit=%00',
  '?limit=%',
  '?%=1',
  '?size=01',
  '?size=1e3',
  '?from=0&from=1',
  '?state=',
  `?a=${'x'.repeat(5000)}`,
  '?limit=0',
  '?limit=1001',
  '?limit=-1',
  '?limit=%31',
  '?before=%ff',
  '?constructor[prototype][x]=1',
]

/** Requests of an operation: most of them nearly right, because those come far. */
export function requestsOf(
  operation: Operation,
  resolve: (schema: Schema) => Schema,
  corpus: Corpus,
  callers: number,
): fc.Arbitrary<FuzzRequest> {
  const texts = (parameter: Parameter) => valuesOf(parameter.schema, resolve, corpus, parameter.name).map(String)
  const seldom = <T>(usual: fc.Arbitrary<T>, odd: fc.Arbitrary<T>, usually = 9) =>
    fc.oneof({ arbitrary: usual, weight: usually }, { arbitrary: odd, weight: 1 })
  const inPlace = (place: Parameter['in']) => operation.parameters.filter(parameter => parameter.in === place)
  const segments = fc.record(
    Object.fromEntries(
      inPlace('path').map(parameter => [
        parameter.name,
        seldom(texts(parameter).map(encodeURIComponent), fc.constantFrom(...oddSegments), 6),
      ]),
    ),
  )
  const query = fc.record(
    Object.fromEntries(
      inPlace('query').map(parameter => [parameter.name, seldom(texts(parameter), junk.map(text), 6)]),
    ),
    {
      requiredKeys: inPlace('query')
        .filter(({ required }) => required)
        .map(({ name }) => name),
    },
  )
  const headers = fc.record(
    Object.fromEntries(inPlace('header').map(parameter => [parameter.name, texts(parameter)])),
    { requiredKeys: [] },
  )
  return fc
    .record({
      segments,
      query: seldom(query.map(writeQuery), fc.constantFrom(...oddQueries)),
      headers,
      odd: seldom(
        fc.constant<(typeof oddHeaders)[number][]>([]),
        fc.array(fc.constantFrom(...oddHeaders), { minLength: 1, maxLength: 3 }),
        2,
      ),
      method: seldom(fc.constant(operation.method), fc.constantFrom(...otherMethods), 12),
      credential: fc.oneof(
        { arbitrary: fc.nat(callers - 1).map(caller => ({ caller })), weight: 8 },
        { arbitrary: fc.constantFrom(...badCredentials).map(bad => ({ bad })), weight: 1 },
        { arbitrary: fc.constant({}), weight: 1 },
      ) as fc.Arbitrary<{ caller?: number; bad?: string }>,
      mediaType: seldom(fc.constant('application/json'), fc.constantFrom(...mediaTypes)),
      body:
        operation.body === undefined
          ? seldom(fc.constant(undefined), fc.json().map(Buffer.from))
          : bodies(valuesOf(operation.body, resolve, corpus)),
    })
    .map(({ segments, query, headers, odd, method, credential, mediaType, body }) => {
      const path = operation.path.replace(/\{(\w+)\}/g, (_, name: string) => segments[name]!)
      const isGet = method === 'GET' || method === 'HEAD' || method === 'TRACE'
      return {
        operationId: operation.id,
        method,
        path: `${path}${query}`,
        headers: {
          ...Object.fromEntries(Object.entries(headers).filter(([, value]) => /^[\x20-\x7e]+$/.test(value!))),
          ...Object.fromEntries(odd),
          ...(credential.bad === undefined ? {} : { authorization: credential.bad }),
          ...(body === undefined || isGet || mediaType === '' ? {} : { 'content-type': mediaType }),
          ...(body === undefined || isGet ? {} : { 'content-length': String(body.length) }),
        },
        body: isGet ? undefined : body,
        caller: credential.caller,
        isRouted:
          method === operation.method &&
          Object.values(segments).every(segment => /^[\w-]{1,100}$/.test(String(segment))),
      }
    })
}

function bodies(valid: fc.Arbitrary<unknown>): fc.Arbitrary<Buffer> {
  const right = valid.map(json)
  const mutated = fc
    .tuple(valid, fc.array(mutation, { minLength: 1, maxLength: 3 }))
    .map(([value, changes]) => json(changes.reduce(mutate, value)))
  const repeated = valid.map(value =>
    Buffer.from(
      json(value)
        .toString()
        .replace(/^\{("(?:[^"\\]|\\.)*":)/, '{$1null,$1'),
    ),
  )
  const cut = fc.tuple(right, fc.nat(500)).map(([bytes, at]) => bytes.subarray(0, at % (bytes.length + 1)))
  const flipped = fc.tuple(right, fc.nat(5000), fc.nat(255)).map(([bytes, at, bits]) => {
    const copy = Buffer.from(bytes)
    if (copy.length > 0) copy[at % copy.length]! ^= bits
    return copy
  })
  const marked = right.map(bytes => Buffer.concat([Buffer.of(0xef, 0xbb, 0xbf), bytes]))
  const weighted = [
    right,
    mutated,
    repeated,
    cut,
    flipped,
    marked,
    junk.map(json),
    fc.uint8Array({ maxLength: 60 }).map(bytes => Buffer.from(bytes)),
  ]
  return fc.oneof(...weighted.map((arbitrary, index) => ({ arbitrary, weight: [8, 8, 1, 1, 2, 1, 2, 1][index]! })))
}

function json(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value) ?? '')
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : (JSON.stringify(value) ?? '')
}

function writeQuery(query: Record<string, string | undefined>): string {
  const pairs = Object.entries(query).flatMap(([name, value]) =>
    value === undefined ? [] : [`${name}=${escaped(value)}`],
  )
  return pairs.length === 0 ? '' : `?${pairs.join('&')}`
}

/** Half of a surrogate pair has no percent-encoding of its own. */
function escaped(value: string): string {
  return encodeURIComponent(value.toWellFormed())
}
