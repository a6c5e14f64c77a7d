import { connect } from 'node:net'
import { setImmediate } from 'node:timers/promises'
import t from 'tap'
import { TokenvaultError } from '../../../src/errors.ts'
import type { Detokenize } from '../../../src/vault/tokens/detokenize.ts'
import type { Tokenize } from '../../../src/vault/tokens/tokenize.ts'
import { noQuarantine, post, receipt, startApp } from '../../helpers/http/http-app.ts'
import { signJwt } from '../../helpers/http/jwks-server.ts'

const purpose = 'fraud_investigation'
const principal = { issuer: 'https://issuer.test', subject: 'casey', roles: ['investigator'], channel: 'http' }
const notCalled = async () => {
  throw new TokenvaultError('internal')
}

t.test('detokenize hands the request to the verb and answers item by item, in order', async t => {
  const items = [
    { token: 'ip_v1_AAAA', field: 'ip', value: '203.0.113.7' },
    { token: 'ip_v1_BBBB', error: { code: 'token_unknown' as const } },
    { token: '', error: { code: 'token_malformed' as const } },
  ]
  const calls: Parameters<Detokenize>[] = []
  const detokenize: Detokenize = async (...call) => {
    calls.push(call)
    return { outcome: 'complete', items, receipt }
  }
  const running = await startApp(t, { verbs: { quarantine: noQuarantine, detokenize, tokenize: notCalled } })
  const tokens = items.map(({ token }) => token)
  for (const path of ['/v1/detokenize', '/detokenize']) {
    const reply = await post(running, path, { purpose, tokens })
    t.equal(reply.status, 200)
    t.strictSame(await reply.json(), { results: items, receipt })
    const requestId = reply.headers.get('x-request-id')
    t.strictSame(calls.pop(), [principal, { requestId, purpose, tokens, atomic: false }])
  }
  await post(running, '/v1/detokenize', { purpose, tokens, atomic: true })
  t.equal(calls.pop()?.[1].atomic, true)
})

t.test('an atomic batch that is refused names the items by index, and nothing else of them', async t => {
  const failures = [{ index: 1, code: 'token_unknown' as const }]
  const running = await startApp(t, {
    verbs: {
      quarantine: noQuarantine,
      detokenize: async () => ({ outcome: 'refused', failures }),
      tokenize: notCalled,
    },
  })
  const reply = await post(running, '/v1/detokenize', { purpose, tokens: ['ip_v1_AAAA', 'ip_v1_BBBB'], atomic: true })
  t.equal(reply.status, 422)
  const text = await reply.text()
  t.match(JSON.parse(text), { code: 'batch_refused', items: failures })
  t.notMatch(text, /ip_v1/)
})

t.test('tokenize answers item by item and never repeats a value', async t => {
  const items = [
    { field: 'ip', token: 'ip_v1_AAAA' },
    { field: 'ip', error: { code: 'value_invalid' as const } },
    { field: 'email', error: { code: 'field_unknown' as const } },
  ]
  const calls: Parameters<Tokenize>[] = []
  const tokenize: Tokenize = async (...call) => {
    calls.push(call)
    return { outcome: 'complete', stored: true, items, receipt }
  }
  const running = await startApp(t, { verbs: { quarantine: noQuarantine, detokenize: notCalled, tokenize } })
  const values = items.map(({ field }) => ({ field, value: 'canary-value' }))
  const reply = await post(running, '/v1/tokenize', { purpose, values })
  const text = await reply.text()
  t.strictSame(JSON.parse(text), { results: items, stored: true, receipt })
  t.notMatch(text, /canary/)
  t.strictSame(calls, [[principal, { requestId: reply.headers.get('x-request-id'), purpose, values }]])
})

t.test('10,000 items pass, with what a verb adds to an item left behind', async t => {
  const detokenize: Detokenize = async (_principal, { tokens }) => ({
    outcome: 'complete',
    receipt,
    items: tokens
      .map(String)
      .map((token, index) =>
        index % 2 === 0
          ? { token, field: 'ip', value: `"quoted" ${index} 💡`, sealed: 'secret' }
          : { token, error: { code: 'token_unknown', detail: 'secret' } },
      ),
  })
  const running = await startApp(t, { verbs: { quarantine: noQuarantine, detokenize, tokenize: notCalled } })
  const tokens = Array.from({ length: 10_000 }, (_, index) => `ip_v1_${index}`)
  const reply = await post(running, '/v1/detokenize', { purpose, tokens })
  const text = await reply.text()
  const { results } = JSON.parse(text)
  t.equal(results.length, 10_000)
  t.strictSame(results.slice(0, 2), [
    { token: 'ip_v1_0', field: 'ip', value: '"quoted" 0 💡' },
    { token: 'ip_v1_1', error: { code: 'token_unknown' } },
  ])
  t.notMatch(text, /secret/)
})

t.test('health: up without its dependencies, ready only with them', async t => {
  let failure: Error | undefined
  let checks = 0
  const check = async () => {
    checks += 1
    if (failure !== undefined) throw failure
  }
  const running = await startApp(t, { health: [{ check }] })
  const get = (path: string) => fetch(`${running.origin}${path}`)
  t.strictSame(await (await get('/readyz')).json(), { status: 'ready', storing: { status: 'off' } })
  failure = new TokenvaultError('store_unavailable', 'SQLSTATE 08006')
  const unready = await get('/readyz')
  t.equal(unready.status, 503)
  t.match(await unready.json(), { code: 'store_unavailable', detail: 'SQLSTATE 08006' })
  const up = await get('/healthz')
  t.equal(up.status, 200)
  t.strictSame(await up.json(), { status: 'up', version: '9.9.9' })
  t.equal(checks, 2, '/healthz asks nobody')
  failure = undefined
  t.equal((await get('/readyz')).status, 200)
})

t.test('that values cannot be stored is told, at once, and makes no API unready', async t => {
  let answer: () => Promise<void> = async () => {}
  let asked = 0
  const running = await startApp(t, {
    health: [{ check: async () => {} }],
    storing: {
      check: () => {
        asked += 1
        return answer()
      },
    },
  })
  const storing = async () => {
    const reply = await fetch(`${running.origin}/readyz`)
    const { status, storing: told } = (await reply.json()) as { status: string; storing: object }
    t.strictSame([reply.status, status], [200, 'ready'])
    return told
  }
  t.strictSame(await storing(), { status: 'ready' })
  answer = () => Promise.reject(new TokenvaultError('store_misconfigured', 'a grant is missing'))
  t.strictSame(await storing(), {
    status: 'unavailable',
    code: 'store_misconfigured',
    detail: 'a grant is missing',
  })
  answer = () => Promise.reject(new TypeError('canary-text'))
  t.strictSame(await storing(), { status: 'unavailable', code: 'internal' })
  const late = Promise.withResolvers<void>()
  answer = () => late.promise
  const before = asked
  for (let probe = 0; probe < 2; probe++)
    t.match(
      await storing(),
      { status: 'unavailable', code: 'store_unavailable' },
      'a server that hangs is not waited for',
    )
  t.equal(asked, before + 1, 'nor asked again while it hangs')
  late.resolve()
})

t.test('probes at the same time share one check', async t => {
  const { promise, resolve } = Promise.withResolvers<void>()
  let checks = 0
  const check = () => {
    checks += 1
    return promise
  }
  const { app } = await startApp(t, { health: [{ check }] })
  const first = app.inject('/readyz')
  const second = app.inject('/readyz')
  const third = app.inject('/healthz')
  await third
  resolve()
  t.equal((await first).statusCode, 200)
  t.equal((await second).statusCode, 200)
  t.equal(checks, 1)
})

t.test('every reply forbids caching, sniffing, framing and scripts', async t => {
  const running = await startApp(t)
  const replies = {
    success: await post(running, '/v1/detokenize', { purpose, tokens: ['a'] }),
    problem: await post(running, '/v1/detokenize', { purpose, tokens: [] }),
    unauthenticated: await fetch(`${running.origin}/v1/detokenize`, { method: 'POST' }),
    notFound: await fetch(`${running.origin}/nothing`),
    health: await fetch(`${running.origin}/healthz`),
    document: await fetch(`${running.origin}/openapi.json`),
  }
  for (const [name, { headers }] of Object.entries(replies)) {
    t.equal(headers.get('cache-control'), 'no-store', name)
    t.equal(headers.get('etag'), null, name)
    t.equal(headers.get('x-content-type-options'), 'nosniff', name)
    t.equal(headers.get('x-frame-options'), 'DENY', name)
    t.match(headers.get('content-security-policy'), /^default-src 'none';.*frame-ancestors 'none'/, name)
    t.equal(headers.get('server'), null, name)
    t.equal(headers.get('x-powered-by'), null, name)
    t.match(headers.get('x-request-id'), /^[0-9a-f-]{36}$/, name)
  }
})

t.test('a request id that the caller sends is ignored', async t => {
  const running = await startApp(t)
  const forged = 'forged-id'
  const headers = { 'x-request-id': forged, 'request-id': forged, traceparent: forged }
  const reply = await post(running, '/v1/detokenize', { purpose, tokens: ['a'] }, { headers })
  t.not(reply.headers.get('x-request-id'), forged)
  t.equal(running.calls[0]?.request.requestId, reply.headers.get('x-request-id'))
  t.notMatch(running.logged(), forged)
})

t.test('one log line a request: route pattern and counts, no URL, token, value or JWT', async t => {
  const running = await startApp(t)
  await (await post(running, '/v1/detokenize?q=canary-query', { purpose, tokens: ['canary-token'] })).text()
  await (await post(running, '/v1/tokenize', { purpose, values: [{ field: 'ip', value: 'canary-value' }] })).text()
  await (await post(running, '/v1/tokenize', { purpose, values: [{ field: 'canary-field' }] })).text()
  await (await fetch(`${running.origin}/canary-path`, { headers: { 'user-agent': 'canary-agent' } })).text()
  await (await fetch(`${running.origin}/canary-%`)).text()
  await running.app.close()
  const lines = running
    .logged()
    .trim()
    .split('\n')
    .map(line => JSON.parse(line))
  t.match(lines, [
    { event: 'request', method: 'POST', route: '/v1/detokenize', status: 200, durationMs: Number, requestId: String },
    { event: 'request', method: 'POST', route: '/v1/tokenize', status: 200 },
    { event: 'request', method: 'POST', route: '/v1/tokenize', status: 400, code: 'request_invalid' },
    { event: 'request', method: 'GET', route: 'none', status: 404, code: 'route_not_found' },
    { event: 'request', method: 'GET', route: 'none', status: 400, code: 'request_malformed' },
  ])
  t.equal(lines.length, 5)
  t.notMatch(running.logged(), /canary|eyJ|127\.0\.0\.1/)
})

t.test('a caller over the limit waits, before its token is looked at', async t => {
  const running = await startApp(t, { rateLimitPerMinute: 3 })
  const get = (path: string, headers = {}) => fetch(`${running.origin}${path}`, { headers })
  t.equal((await get('/healthz')).status, 200)
  t.equal((await get('/guess')).status, 404, 'guesses at paths count')
  t.equal((await post(running, '/v1/detokenize', {}, { jwt: 'x' })).status, 401, 'so do refused tokens')
  const limited = await post(running, '/v1/detokenize', { purpose, tokens: ['a'] })
  t.equal(limited.status, 429)
  t.match(await limited.json(), { code: 'rate_limited' })
  t.ok(Number(limited.headers.get('retry-after')) > 0)
  t.equal((await get('/healthz', { 'x-forwarded-for': '198.51.100.1' })).status, 429, 'a forged address is no way out')
  t.strictSame(running.calls, [])
})

t.test('addresses that a trusted proxy forwards are limited one by one', async t => {
  const running = await startApp(t, { rateLimitPerMinute: 1, trustProxy: ['127.0.0.1/32'] })
  const from = async (address: string) =>
    (await fetch(`${running.origin}/healthz`, { headers: { 'x-forwarded-for': address } })).status
  t.equal(await from('198.51.100.1'), 200)
  t.equal(await from('198.51.100.2'), 200)
  t.equal(await from('198.51.100.1'), 429)
  t.equal(await from('203.0.113.9, 198.51.100.2'), 429, 'only the last hop is the proxy’s word')
})

t.test('while it stops, requests under way finish and new ones are sent away', async t => {
  const begun = Promise.withResolvers<void>()
  const finish = Promise.withResolvers<void>()
  let calls = 0
  const running = await startApp(t, {
    verbs: {
      quarantine: noQuarantine,
      detokenize: async (_principal, { tokens }) => {
        calls += 1
        begun.resolve()
        await finish.promise
        return {
          outcome: 'complete',
          items: tokens.map(token => ({ token: String(token), field: 'ip', value: 'x' })),
          receipt,
        }
      },
      tokenize: notCalled,
    },
  })
  const jwt = await signJwt(running.key)
  const body = JSON.stringify({ purpose, tokens: ['a'] })
  const head = `authorization: Bearer ${jwt}\r\ncontent-type: application/json\r\ncontent-length: ${body.length}`
  const request = `POST /v1/detokenize HTTP/1.1\r\nhost: a\r\n${head}\r\n\r\n${body}`
  let replies = ''
  const socket = connect(running.port, '127.0.0.1')
  const ended = new Promise(resolve => socket.on('close', resolve))
  socket.setEncoding('utf8').on('data', part => {
    replies += part
  })
  socket.write(request)
  await begun.promise
  const closed = running.app.close()
  while (running.app.server.listening) await setImmediate()
  const late = new Promise(resolve => running.app.server.once('request', resolve))
  socket.write(request)
  await late
  finish.resolve()
  await Promise.all([ended, closed])
  const [first, second] = replies.split(/(?=HTTP\/1\.1 )/)
  t.match(first, /^HTTP\/1\.1 200 /)
  t.match(second, /^HTTP\/1\.1 503 /)
  t.match(second, /connection: close/i)
  t.match(second, /"code":"overloaded"/)
  t.equal(calls, 1)
})
