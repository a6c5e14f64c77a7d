import { gzipSync } from 'node:zlib'
import t, { type Test } from 'tap'
import { type errorCatalogue, TokenvaultError } from '../../../src/errors.ts'
import { noQuarantine, post, sendRaw, startApp } from '../../helpers/http/http-app.ts'
import { signJwt } from '../../helpers/http/jwks-server.ts'
import { converse, parseReply } from '../../helpers/http/raw-http.ts'

const canary = 'canary-203.0.113.77'
const detokenize = (change: Record<string, unknown> = {}) => ({
  purpose: 'fraud_investigation',
  tokens: [canary],
  ...change,
})
const tokenize = (change: Record<string, unknown> = {}) => ({
  purpose: 'fraud_investigation',
  values: [{ field: 'ip', value: canary }],
  ...change,
})
const bytes = (text: string) => Buffer.from(text, 'latin1')

interface Case {
  readonly path?: string
  readonly body: unknown
  readonly headers?: Record<string, string>
  readonly status?: number
  readonly code: keyof typeof errorCatalogue
}

const cases: Record<string, Case> = {
  'no purpose': { body: detokenize({ purpose: undefined }), code: 'purpose_missing' },
  'an empty purpose': { body: detokenize({ purpose: '' }), code: 'purpose_missing' },
  'a purpose with a value in it': { body: detokenize({ purpose: `why is ${canary} here` }), code: 'purpose_invalid' },
  'a purpose of two letters': { body: detokenize({ purpose: 'ab' }), code: 'purpose_invalid' },
  'a purpose of 65 letters': { body: detokenize({ purpose: 'a'.repeat(65) }), code: 'purpose_invalid' },
  'a purpose with a line break': { body: detokenize({ purpose: 'fraud\n' }), code: 'purpose_invalid' },
  'a purpose that is a number': { body: detokenize({ purpose: 12345 }), code: 'purpose_invalid' },
  'an empty batch': { body: detokenize({ tokens: [] }), code: 'batch_empty' },
  '10,001 tokens': { body: detokenize({ tokens: Array(10_001).fill('t') }), code: 'batch_too_large' },
  '10,001 tokens of the longest kind': {
    body: detokenize({ tokens: Array(10_001).fill('t'.repeat(256)) }),
    code: 'batch_too_large',
  },
  'no tokens': { body: detokenize({ tokens: undefined }), code: 'request_invalid' },
  'tokens as text': { body: detokenize({ tokens: canary }), code: 'request_invalid' },
  'a token that is a number': { body: detokenize({ tokens: ['a', 7] }), code: 'request_invalid' },
  'a token that is null': { body: detokenize({ tokens: [null] }), code: 'request_invalid' },
  'atomic as text': { body: detokenize({ atomic: 'true' }), code: 'request_invalid' },
  'a property too many': { body: detokenize({ [canary]: 1 }), code: 'property_unknown' },
  'a property of another case': { body: detokenize({ Atomic: true }), code: 'property_unknown' },
  'a list for a body': { body: [detokenize()], code: 'request_invalid' },
  'null for a body': { body: 'null', code: 'request_invalid' },
  'text for a body': { body: `"${canary}"`, code: 'request_invalid' },
  'half a body': { body: `{"purpose":"${canary}`, code: 'body_malformed' },
  'an empty body': { body: '', code: 'body_malformed' },
  'two bodies': { body: `${JSON.stringify(detokenize())}{}`, code: 'body_malformed' },
  '__proto__ in the body': {
    body: '{"purpose":"fraud","tokens":["a"],"__proto__":{"atomic":true}}',
    code: 'body_malformed',
  },
  'escaped __proto__ in the body': {
    body: '{"purpose":"fraud","tokens":["a"],"\\u005f_proto__":{"x":1}}',
    code: 'body_malformed',
  },
  'constructor.prototype in the body': {
    body: '{"purpose":"fraud","tokens":["a"],"constructor":{"prototype":{"x":1}}}',
    code: 'property_unknown',
  },
  'a property that stands twice': {
    body: '{"purpose":"fraud","tokens":["a"],"purpose":"fraud"}',
    code: 'body_malformed',
  },
  'a property that stands twice, once escaped': {
    body: '{"purpose":"fraud","tokens":["a"],"\\u0070urpose":"fraud"}',
    code: 'body_malformed',
  },
  'a property that stands twice in an item': {
    path: '/v1/tokenize',
    body: '{"purpose":"fraud","values":[{"field":"ip","value":"x","value":"y"}]}',
    code: 'body_malformed',
  },
  'a property that stands twice with other bytes for a name': {
    body: '{"purpose":"fraud","tokens":["a"],"tokens\\u0000":[],"tokens\\u0000":[]}',
    code: 'body_malformed',
  },
  'a byte-order mark': { body: `\ufeff${JSON.stringify(detokenize())}`, code: 'body_malformed' },
  'UTF-16': { body: Buffer.from(JSON.stringify(detokenize()), 'utf16le'), code: 'body_malformed' },
  'an overlong form of a quotation mark': {
    body: Buffer.concat([bytes('{"purpose":'), Buffer.from([0xc0, 0xa2]), bytes('fraud"}')]),
    code: 'body_malformed',
  },
  'a surrogate in UTF-8': {
    body: bytes('{"purpose":"fraud","tokens":["\xed\xa0\x80"]}'),
    code: 'body_malformed',
  },
  'a comment': { body: '{/**/"purpose":"fraud","tokens":["a"]}', code: 'body_malformed' },
  'a comma too many': { body: '{"purpose":"fraud","tokens":["a"],}', code: 'body_malformed' },
  'single quotes': { body: "{'purpose':'fraud'}", code: 'body_malformed' },
  NaN: { body: '{"purpose":"fraud","tokens":[NaN]}', code: 'body_malformed' },
  'a string that never ends': { body: `"${'\\"'.repeat(1000)}`, code: 'body_malformed' },
  'a name that never ends': { body: '{"purpose\\', code: 'body_malformed' },
  'bytes that are not UTF-8': { body: bytes('{"purpose":"fraud","tokens":["\xff"]}'), code: 'body_malformed' },
  '17 levels of nesting': { body: `${'['.repeat(17)}${']'.repeat(17)}`, code: 'body_malformed' },
  '16 levels of nesting': { body: `${'['.repeat(16)}${']'.repeat(16)}`, code: 'request_invalid' },
  '100,000 levels of nesting': { body: `${'['.repeat(100_000)}${']'.repeat(100_000)}`, code: 'body_malformed' },
  '4,000,000 levels of nesting': { body: '['.repeat(4_000_000), code: 'body_malformed' },
  'compressed bytes': {
    body: gzipSync(JSON.stringify(detokenize())),
    headers: { 'content-encoding': 'gzip' },
    code: 'content_encoding_unsupported',
    status: 415,
  },
  'text/plain': {
    body: detokenize(),
    headers: { 'content-type': 'text/plain' },
    code: 'content_type_unsupported',
    status: 415,
  },
  'a form': {
    body: 'a=b',
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
    code: 'content_type_unsupported',
    status: 415,
  },
  'a media type that is none': {
    body: detokenize(),
    headers: { 'content-type': 'json' },
    code: 'content_type_unsupported',
    status: 415,
  },
  'a media type that only starts alike': {
    body: detokenize(),
    headers: { 'content-type': 'application/jsonx' },
    code: 'content_type_unsupported',
    status: 415,
  },
  'more than 4 MiB': {
    body: detokenize({ tokens: ['t'.repeat(4 * 1024 * 1024)] }),
    code: 'body_too_large',
    status: 413,
  },
  'tokenize: no purpose': { path: '/v1/tokenize', body: tokenize({ purpose: undefined }), code: 'purpose_missing' },
  'tokenize: an empty batch': { path: '/v1/tokenize', body: tokenize({ values: [] }), code: 'batch_empty' },
  'tokenize: 10,001 values': {
    path: '/v1/tokenize',
    body: tokenize({ values: Array(10_001).fill({ field: 'ip', value: 'x' }) }),
    code: 'batch_too_large',
  },
  'tokenize: a value without field': {
    path: '/v1/tokenize',
    body: tokenize({ values: [{ value: canary }] }),
    code: 'request_invalid',
  },
  'tokenize: a value that is a number': {
    path: '/v1/tokenize',
    body: tokenize({ values: [{ field: 'ip', value: 7 }] }),
    code: 'request_invalid',
  },
  ...Object.fromEntries(
    ['store', 'atomic'].flatMap(name =>
      ['true', 1, null, [], {}].map(value => [
        `tokenize: ${name} that is ${JSON.stringify(value)}`,
        { path: '/v1/tokenize', body: tokenize({ [name]: value }), code: 'request_invalid' },
      ]),
    ),
  ),
  'tokenize: a word for store that there is not': {
    path: '/v1/tokenize',
    body: tokenize({ Store: true }),
    code: 'property_unknown',
  },
  'tokenize: a property too many in an item': {
    path: '/v1/tokenize',
    body: tokenize({ values: [{ field: 'ip', value: canary, [canary]: 1 }] }),
    code: 'property_unknown',
  },
}

async function checkProblem(
  t: Test,
  reply: { status: number; headers: Headers; text(): Promise<string> },
  code: string,
  status = 400,
) {
  const text = await reply.text()
  t.equal(reply.status, status, text)
  t.equal(reply.headers.get('content-type'), 'application/problem+json')
  t.equal(reply.headers.get('cache-control'), 'no-store')
  const problem = JSON.parse(text)
  t.match(problem, { type: `urn:tokenvault:problem:${code}`, code, status, title: String, remedy: String })
  t.equal(problem.requestId, reply.headers.get('x-request-id'))
  t.notMatch(text, canary)
  t.notMatch(text, /FST_|at .*\.js|node_modules|must (be|have|NOT)/)
  return problem
}

t.test('bad input has a code of its own', async t => {
  const running = await startApp(t)
  for (const [name, { path = '/v1/detokenize', body, headers = {}, status, code }] of Object.entries(cases)) {
    t.test(`${name}: ${code}`, async t => {
      await checkProblem(t, await post(running, path, body, { headers }), code, status)
    })
  }
  t.test('nothing of it reached a verb or the log', async t => {
    t.strictSame(running.calls, [])
    t.notMatch(running.logged(), canary)
  })
  t.test('the detail names the place, by our own names only', async t => {
    const { detail } = (await (
      await post(
        running,
        '/v1/tokenize',
        tokenize({
          values: [
            { field: 'ip', value: 'x' },
            { field: 7, value: 'x' },
          ],
        }),
      )
    ).json()) as { detail: string }
    t.equal(detail, '/values/1/field is not of type string')
  })
  t.test('an unknown property is told by its place and the names that there are, never by its own', async t => {
    const call = 'purpose, tokens, atomic, ticket, reveal, approvalId, dryRun'
    const item = (name: string) =>
      tokenize({
        values: [
          { field: 'ip', value: 'x' },
          { field: 'ip', value: 'x', [name]: canary },
        ],
      })
    const details: [path: string, body: object, detail: string][] = [
      ['/v1/detokenize', detokenize({ [canary]: 1 }), `the body has an unknown property; allowed: ${call}`],
      [
        '/v1/detokenize',
        detokenize({ tokns: [] }),
        `the body has an unknown property (did you mean tokens?); allowed: ${call}`,
      ],
      [
        '/v1/detokenize',
        detokenize({ tokesn: [] }),
        `the body has an unknown property (did you mean tokens?); allowed: ${call}`,
      ],
      [
        '/v1/detokenize',
        detokenize({ Ticket: 'A-1' }),
        `the body has an unknown property (did you mean ticket?); allowed: ${call}`,
      ],
      [
        '/v1/detokenize',
        detokenize({ approval_id: 'x' }),
        `the body has an unknown property (did you mean approvalId?); allowed: ${call}`,
      ],
      ['/v1/detokenize', detokenize({ '': 1 }), `the body has an unknown property; allowed: ${call}`],
      [
        '/v1/detokenize',
        detokenize({ ['tokens'.repeat(10_000)]: 1 }),
        `the body has an unknown property; allowed: ${call}`,
      ],
      ['/v1/tokenize', item(canary), '/values/1 has an unknown property; allowed: field, value'],
      ['/v1/tokenize', item('vaule'), '/values/1 has an unknown property (did you mean value?); allowed: field, value'],
      [
        '/v1/quarantine/redrive',
        { reasons: 'ip_invalid' },
        'the body has an unknown property (did you mean reason?); allowed: reason, before',
      ],
      [
        `/v1/approvals/2b0a4d0e-6f1c-4b9a-8d3e-5c6d7e8f9a0b/decision`,
        { decision: 'approve', why: canary },
        'the body has an unknown property; allowed: decision',
      ],
    ]
    for (const [path, body, detail] of details) {
      const problem = await checkProblem(t, await post(running, path, body), 'property_unknown')
      t.equal(problem.detail, detail)
    }
    const get = async (path: string) => {
      const headers = { authorization: `Bearer ${await signJwt(running.key)}` }
      return (await checkProblem(t, await fetch(`${running.origin}${path}`, { headers }), 'property_unknown')).detail
    }
    t.equal(
      await get(`/v1/quarantine?limits=${canary}`),
      'the query has an unknown property (did you mean limit?); allowed: state, reason, limit, before',
    )
  })
  t.test('a value that is none of a list is told the list', async t => {
    const decision = { decision: canary }
    const reply = await post(running, `/v1/approvals/2b0a4d0e-6f1c-4b9a-8d3e-5c6d7e8f9a0b/decision`, decision)
    t.equal((await checkProblem(t, reply, 'request_invalid')).detail, '/decision takes one of: approve, refuse')
  })
  t.test('odd spellings of application/json are still application/json', async t => {
    for (const type of [
      'Application/JSON',
      'application/json; charset=utf-8',
      'application/json;charset="UTF-8"',
      'application/json\t; a=b',
    ]) {
      t.equal(
        (await post(running, '/v1/detokenize', detokenize(), { headers: { 'content-type': type } })).status,
        200,
        type,
      )
    }
  })
  t.test('strange tokens are for the verb to judge, one by one', async t => {
    for (const token of ['', '💥', 'x'.repeat(100_000), '__proto__']) {
      t.equal((await post(running, '/v1/detokenize', detokenize({ tokens: [token] }))).status, 200)
    }
  })
})

t.test('unknown paths and methods', async t => {
  const running = await startApp(t)
  const { origin } = running
  await checkProblem(t, await fetch(`${origin}/${canary}?q=${canary}`), 'route_not_found', 404)
  await checkProblem(t, await fetch(`${origin}/v2/detokenize`, { method: 'POST' }), 'route_not_found', 404)
  const wrong = await fetch(`${origin}/v1/detokenize?token=${canary}`)
  t.equal(wrong.headers.get('allow'), 'POST')
  await checkProblem(t, wrong, 'method_not_allowed', 405)
  const put = await fetch(`${origin}/healthz`, { method: 'PUT', body: canary })
  t.equal(put.headers.get('allow'), 'GET, HEAD')
  await checkProblem(t, put, 'method_not_allowed', 405)
  await checkProblem(t, await fetch(`${origin}/%`), 'request_malformed', 400)
  t.notMatch(running.logged(), canary)
})

t.test('what a verb throws', async t => {
  const thrown: { error: unknown } = { error: undefined }
  const refuse = async () => {
    throw thrown.error
  }
  const running = await startApp(t, { verbs: { quarantine: noQuarantine, detokenize: refuse, tokenize: refuse } })
  const ask = async (error: unknown, code: string, status: number) => {
    thrown.error = error
    return checkProblem(t, await post(running, '/v1/detokenize', detokenize()), code, status)
  }
  await ask(new TokenvaultError('role_not_permitted'), 'role_not_permitted', 403)
  await ask(new TokenvaultError('audit_unavailable', `insert of ${canary} failed`), 'audit_unavailable', 503)
  await ask(new TokenvaultError('store_unavailable', `SQLSTATE 08006 ${canary}`), 'store_unavailable', 503)
  await ask(new TokenvaultError('keyset_invalid', canary), 'internal', 500)
  await ask(new Error(`duplicate key (ip)=(${canary})`), 'internal', 500)
  await ask(Object.assign(new Error(canary), { statusCode: 418, code: canary }), 'request_invalid', 400)
  await ask(canary, 'internal', 500)
  await ask(undefined, 'internal', 500)
  t.match(running.logged(), /"code":"audit_unavailable"/)
})

t.test('what is hardly HTTP is answered by a problem as well', async t => {
  const running = await startApp(t)
  const cases = [
    ['NONSENSE\r\n\r\n', 400, 'request_malformed'],
    [`GET / HTTP/1.1\r\nhost: a\r\nx: ${canary}${'y'.repeat(40_000)}\r\n\r\n`, 431, 'headers_too_large'],
    ['POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n', 400, 'request_malformed'],
  ] as const
  for (const [text, status, code] of cases) {
    const reply = parseReply(await converse(running.port, Buffer.from(text)))
    const headers = new Headers(reply.headers as Record<string, string>)
    await checkProblem(t, { status: reply.status, headers, text: async () => reply.text }, code, status)
    t.equal(headers.get('connection'), 'close')
    t.match(running.logged(), `"requestId":"${headers.get('x-request-id')}"`, 'the operator finds it')
  }
  t.notMatch(running.logged(), canary)
  const short = await sendRaw(running.port, 'POST', '/v1/detokenize', [
    'authorization',
    `Bearer ${await signJwt(running.key)}`,
    'content-type',
    'application/json',
  ])
  t.equal(JSON.parse(short.text).code, 'body_malformed')
})
