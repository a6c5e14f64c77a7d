import t, { type Test } from 'tap'
import { type RunningApp, startApp } from '../../helpers/http/http-app.ts'
import { signJwt } from '../../helpers/http/jwks-server.ts'
import { converse, parseReply } from '../../helpers/http/raw-http.ts'

const body = JSON.stringify({ purpose: 'fraud_investigation', tokens: ['ip_v1_AAAA'] })

/** A request that is answered 200, in parts that a shape replaces. */
interface Shape {
  readonly line?: string
  readonly host?: readonly string[]
  /** Instead of Content-Type. */
  readonly type?: readonly string[]
  /** Instead of Content-Length. */
  readonly framing?: readonly string[]
  readonly more?: readonly string[]
  readonly body?: string
}

const post = (target: string): Shape => ({ line: `POST ${target} HTTP/1.1` })
const get = (target: string): Shape => ({ line: `GET ${target} HTTP/1.1`, type: [], framing: [], body: '' })
const call = (method: string, target: string): Shape => ({ ...get(target), line: `${method} ${target} HTTP/1.1` })
const type = (...values: string[]): Shape => ({ type: values.map(value => `content-type: ${value}`) })
const host = (...values: string[]): Shape => ({ host: values.map(value => `host: ${value}`) })
const more = (...headers: string[]): Shape => ({ more: headers })
const chunked = (...framing: string[]): Shape => ({
  framing,
  body: `${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`,
})

type Expected = readonly [status: number, code?: string]
const ok = [200] as const
const malformed = [400, 'request_malformed'] as const
const unknown = [404, 'route_not_found'] as const
const wrongMethod = [405, 'method_not_allowed'] as const
const wrongType = [415, 'content_type_unsupported'] as const
const wrongEncoding = [415, 'content_encoding_unsupported'] as const
const unauthenticated = [401, 'unauthenticated'] as const

const shapes: Record<string, readonly [Shape, Expected]> = {
  'as it should be': [{}, ok],
  // Paths.
  'a letter percent-encoded': [post('/v1/%64etokenize'), malformed],
  'a letter percent-encoded, in capitals': [post('/v1/detoken%69ZE'.toLowerCase()), malformed],
  'a slash percent-encoded': [post('/v1%2fdetokenize'), malformed],
  'a slash percent-encoded at the end': [post('/v1/detokenize%2F'), malformed],
  'dots percent-encoded': [post('/v1/%2e%2e/v1/detokenize'), malformed],
  'percent-encoded twice': [post('/v1/%2564etokenize'), malformed],
  'percent-encoding of a public path': [get('/%68ealthz'), malformed],
  'percent-encoding that is none': [get('/%'), malformed],
  'percent-encoding that is not UTF-8': [get('/%c0%af'), malformed],
  'a NUL percent-encoded': [get('/healthz%00'), malformed],
  'two slashes before it': [post('//v1/detokenize'), malformed],
  'two slashes within': [post('/v1//detokenize'), malformed],
  'a dot segment': [post('/v1/./detokenize'), malformed],
  'a double-dot segment': [post('/v1/../v1/detokenize'), malformed],
  'a dot segment at the end': [get('/healthz/.'), malformed],
  'a slash at the end': [post('/v1/detokenize/'), unknown],
  capitals: [post('/V1/detokenize'), unknown],
  'other capitals': [post('/v1/Detokenize'), unknown],
  'a path parameter': [post('/v1/detokenize;x'), unknown],
  'a path parameter with a value': [post('/v1/detokenize;a=b'), unknown],
  'a fragment': [post('/v1/detokenize#x'), malformed],
  'a backslash': [post('/v1\\detokenize'), malformed],
  'a curly bracket': [get('/v1/{id}'), malformed],
  'absolute-form': [post('http://a/v1/detokenize'), malformed],
  'absolute-form of another host': [get('http://attacker.test/healthz'), malformed],
  'absolute-form with a user': [get('http://user@a/healthz'), malformed],
  'authority-form': [call('CONNECT', 'a:443'), malformed],
  'no slash before it': [get('healthz'), malformed],
  'a query': [get('/healthz?verbose=1&x=%2f'), ok],
  'a query with brackets': [get('/healthz?a[]={1}'), ok],
  'a query with half an encoding': [get('/healthz?x=%2'), malformed],
  'a dot in a query': [get('/healthz?/../'), ok],
  'a pattern instead of an id': [get('/v1/quarantine/:id'), [400, 'request_invalid']],
  // Host.
  'no host': [host(), malformed],
  'two hosts': [host('a', 'b'), malformed],
  'one host twice': [host('a', 'a'), malformed],
  'an empty host': [host(''), malformed],
  'a host with a path': [host('a/b'), malformed],
  'a host with a user': [host('user@a'), malformed],
  'a host with a space': [host('a b'), malformed],
  'a list of hosts': [host('a,, b'), malformed],
  'a host and a port': [host('vault.example.com:8443'), ok],
  'an IPv6 host': [host('[::1]:3000'), ok],
  'an IPv6 host without brackets': [host('::1'), malformed],
  'a port that is none': [host('a:x'), malformed],
  'HTTP/1.0 without a host': [{ ...get('/healthz'), line: 'GET /healthz HTTP/1.0', host: [] }, ok],
  // Content-Encoding and Content-Type.
  gzip: [more('content-encoding: gzip'), wrongEncoding],
  'an encoding that is none': [more('content-encoding: rot13'), wrongEncoding],
  'an empty encoding': [more('content-encoding:'), wrongEncoding],
  identity: [more('content-encoding: Identity'), ok],
  'identity and gzip': [more('content-encoding: identity, gzip'), wrongEncoding],
  'two encodings': [more('content-encoding: identity', 'content-encoding: gzip'), malformed],
  'charset=utf-16': [type('application/json; charset=utf-16'), wrongType],
  'charset=iso-8859-1': [type('application/json;charset=iso-8859-1'), wrongType],
  'charset=utf-7 in quotes': [type('application/json; charset="utf-7"'), wrongType],
  'charset=utf-8': [type('application/json; charset=utf-8'), ok],
  'charset=UTF-8 in quotes': [type('application/json;Charset="UTF-8"'), ok],
  'charset twice': [type('application/json; charset=utf-8; charset=utf-8'), wrongType],
  'charset twice, not alike': [type('application/json; charset=utf-8; CHARSET=utf-16'), wrongType],
  'an empty charset': [type('application/json; charset='), wrongType],
  'another parameter': [type('application/json; profile="a"'), ok],
  'a semicolon at the end': [type('application/json;'), ok],
  'parameters that are none': [type('application/json; utf-8'), wrongType],
  'a charset behind a quotation mark that does not close': [type('application/json; a="; charset=utf-16'), wrongType],
  'text/plain': [type('text/plain'), wrongType],
  'two types in one header': [type('application/json, text/plain'), wrongType],
  'no type': [{ type: [] }, wrongType],
  'an empty type': [type(''), wrongType],
  'two types': [type('application/json', 'text/plain'), malformed],
  'one type twice': [type('application/json', 'application/json'), malformed],
  // Other headers.
  'a second Authorization': [more('authorization: Bearer x.y.z'), unauthenticated],
  'a second, empty Authorization': [more('Authorization:'), unauthenticated],
  'an Idempotency-Key twice, where it is ignored': [more('idempotency-key: a', 'idempotency-key: b'), ok],
  'an Idempotency-Key twice': [
    { line: 'POST /v1/quarantine/redrive HTTP/1.1', body: '{}', ...more('idempotency-key: a', 'idempotency-key: b') },
    [400, 'idempotency_key_invalid'],
  ],
  'an expectation that is unknown': [more('expect: a-miracle'), ok],
  'two expectations': [more('expect: 100-continue', 'expect: 100-continue'), malformed],
  'an upgrade that is not offered': [more('connection: upgrade', 'upgrade: websocket'), ok],
  'an upgrade to HTTP/2': [more('connection: upgrade, http2-settings', 'upgrade: h2c', 'http2-settings: AAMAAABk'), ok],
  'a header name with a space': [more('x y: z'), malformed],
  'a header without a name': [more(': z'), malformed],
  'a header with a NUL': [more('x: a\u0000b'), malformed],
  'a header line that goes on': [more('x: a', ' b'), malformed],
  'headers of 40 KB': [more(`x: ${'y'.repeat(40_000)}`), [431, 'headers_too_large']],
  // Framing.
  'a length that stands twice': [
    { framing: [`content-length: ${body.length}`, `content-length: ${body.length}`] },
    malformed,
  ],
  'a list of lengths': [{ framing: [`content-length: ${body.length}, ${body.length}`] }, malformed],
  'a negative length': [{ framing: ['content-length: -1'] }, malformed],
  'a length in hexadecimal': [{ framing: ['content-length: 0x10'] }, malformed],
  'a length of 5 GB': [{ framing: ['content-length: 5000000000'] }, [413, 'body_too_large']],
  chunks: [chunked('transfer-encoding: chunked'), ok],
  'chunks, in capitals': [chunked('Transfer-Encoding: CHUNKED'), ok],
  'chunks and a length': [chunked('transfer-encoding: chunked', 'content-length: 5'), malformed],
  'a length and chunks': [chunked('content-length: 5', 'transfer-encoding: chunked'), malformed],
  'chunks twice': [chunked('transfer-encoding: chunked', 'transfer-encoding: chunked'), malformed],
  'chunks twice in one header': [chunked('transfer-encoding: chunked, chunked'), malformed],
  'chunks of gzip': [chunked('transfer-encoding: gzip, chunked'), malformed],
  'an encoding that ends alike': [chunked('transfer-encoding: xchunked'), malformed],
  'an encoding with a tab': [chunked('transfer-encoding:\tchunked'), ok],
  'identity as transfer': [chunked('transfer-encoding: identity'), malformed],
  'an empty transfer-encoding': [chunked('transfer-encoding:'), malformed],
  'chunks after HTTP/1.0': [
    { ...chunked('transfer-encoding: chunked'), line: 'POST /v1/detokenize HTTP/1.0' },
    malformed,
  ],
  'a size of a chunk that is none': [
    { framing: ['transfer-encoding: chunked'], body: 'zz\r\n{}\r\n0\r\n\r\n' },
    malformed,
  ],
  'extensions of chunks without end': [
    { framing: ['transfer-encoding: chunked'], body: `2;${'a'.repeat(20_000)}\r\n{}\r\n0\r\n\r\n` },
    [413, 'body_too_large'],
  ],
  // Methods.
  OPTIONS: [call('OPTIONS', '/v1/detokenize'), wrongMethod],
  'OPTIONS of another origin': [
    { ...call('OPTIONS', '/v1/detokenize'), more: ['origin: https://a.test', 'access-control-request-method: POST'] },
    wrongMethod,
  ],
  'OPTIONS *': [call('OPTIONS', '*'), unknown],
  'GET *': [get('*'), malformed],
  TRACE: [call('TRACE', '/v1/detokenize'), wrongMethod],
  'TRACE of a public path': [call('TRACE', '/healthz'), wrongMethod],
  PUT: [call('PUT', '/v1/quarantine/7a'), wrongMethod],
  PATCH: [call('PATCH', '/v1/audit/checkpoint'), wrongMethod],
  DELETE: [call('DELETE', '/v1/approvals/7a/decision'), wrongMethod],
  QUERY: [call('QUERY', '/v1/quarantine'), wrongMethod],
  PROPFIND: [call('PROPFIND', '/readyz'), wrongMethod],
  'GET where POST is': [get('/v1/tokenize'), wrongMethod],
  'HEAD where POST is': [call('HEAD', '/v1/tokenize'), [405]],
  'HEAD where GET is': [call('HEAD', '/healthz'), ok],
  'POST of the document': [post('/openapi.json'), wrongMethod],
  'POST of the page': [post('/docs'), wrongMethod],
  'POST of the root': [post('/'), wrongMethod],
  'POST of a file of the page': [post('/docs/static/index.html'), wrongMethod],
  'a method that is none': [call('BREW', '/healthz'), malformed],
  'a method in small letters': [call('get', '/healthz'), malformed],
  // Lines.
  'HTTP/0.9': [{ line: 'GET /healthz' }, malformed],
  'HTTP/1.2': [{ ...get('/healthz'), line: 'GET /healthz HTTP/1.2' }, malformed],
  'HTTP/2 with prior knowledge': [{ line: 'PRI * HTTP/2.0' }, malformed],
  'two spaces': [{ ...get('/healthz'), line: 'GET  /healthz HTTP/1.1' }, ok],
  'a tab in the path': [get('/heal\tthz'), malformed],
  'TLS on a plain port': [{ line: '\u0016\u0003\u0001\u0002\u0000\u0001' }, malformed],
}

async function send(running: RunningApp, shape: Shape, authorization: readonly string[]) {
  const given = { line: 'POST /v1/detokenize HTTP/1.1', body, ...shape }
  const { host = ['host: a'], type = ['content-type: application/json'], more = [] } = shape
  const framing = shape.framing ?? [`content-length: ${given.body.length}`]
  const head = [given.line, ...host, ...authorization, ...type, ...framing, ...more, 'connection: close']
  const bytes = Buffer.from(`${head.join('\r\n')}\r\n\r\n${given.body}`, 'latin1')
  return parseReply(await converse(running.port, bytes))
}

function check(t: Test, name: string, reply: Awaited<ReturnType<typeof send>>, [status, code]: Expected) {
  t.equal(reply.status, status, `${name}: ${status} ${code ?? ''} ${reply.text.slice(0, 300)}`)
  if (status === 405) t.ok(reply.headers['allow'], `${name}: Allow`)
  if (code === undefined) return
  t.equal(reply.headers['content-type'], 'application/problem+json', name)
  t.equal(reply.headers['cache-control'], 'no-store', name)
  const problem = JSON.parse(reply.text)
  t.match(problem, { type: `urn:tokenvault:problem:${code}`, code, status, title: String, remedy: String }, name)
  t.equal(problem.requestId, reply.headers['x-request-id'], name)
  if (code === 'request_malformed') t.equal(reply.headers['connection'], 'close', name)
}

t.test('each shape of a request has its status and its code', async t => {
  const running = await startApp(t)
  const authorization = [`authorization: Bearer ${await signJwt(running.key, { roles: ['operator'] })}`]
  for (const [name, [shape, expected]] of Object.entries(shapes)) {
    const { length } = running.calls
    check(t, name, await send(running, shape, authorization), expected)
    if (expected[0] !== 200) t.equal(running.calls.length, length, `${name}: no verb ran`)
  }
})
