import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import t from 'tap'
import { receipt, startApp } from '../../helpers/http/http-app.ts'
import { signJwt } from '../../helpers/http/jwks-server.ts'
import { converse, exchange } from '../../helpers/http/raw-http.ts'

const body = JSON.stringify({ purpose: 'fraud_investigation', tokens: ['ip_v1_AAAA'] })

t.test('headers are bounded in bytes and not in number, so that none hides behind the others', async t => {
  const running = await startApp(t)
  const authorization = `authorization: Bearer ${await signJwt(running.key)}`
  const head = [
    'POST /v1/detokenize HTTP/1.1',
    'host: a',
    'content-type: application/json',
    `content-length: ${body.length}`,
  ]
  const many = Array.from({ length: 2500 }, () => 'a:')
  t.equal((await exchange(running.port, [...head, ...many, authorization], body)).status, 200, '2,500 headers')
  t.equal((await exchange(running.port, [...head, authorization, ...many, 'authorization: x'], body)).status, 401)
  t.equal((await exchange(running.port, [...head, authorization, `x: ${'y'.repeat(16_384)}`], body)).status, 200)
  t.equal((await exchange(running.port, [...head, authorization, `x: ${'y'.repeat(32_768)}`], body)).status, 431)
})

t.test(
  'a URL that does not decode gets the headers of every problem, and an unknown expectation is passed over',
  async t => {
    const running = await startApp(t)
    const own = new Set([
      'x-request-id',
      'date',
      'content-length',
      'x-ratelimit-limit',
      'x-ratelimit-remaining',
      'x-ratelimit-reset',
    ])
    const headersOf = async (path: string) => {
      const { headers } = await exchange(running.port, [`GET ${path} HTTP/1.1`, 'host: a'])
      return Object.entries(headers)
        .filter(([name]) => !own.has(name))
        .sort()
    }
    t.strictSame(await headersOf('/%'), await headersOf('/nothing%20'))
    const expecting = await exchange(running.port, ['GET /healthz HTTP/1.1', 'host: a', 'expect: a-miracle'])
    t.equal(expecting.status, 200)
  },
)

t.test('methods and paths that are hardly any', async t => {
  const running = await startApp(t)
  const ask = async (line: string) => (await exchange(running.port, [`${line} HTTP/1.1`, 'host: a'])).status
  for (const [line, status] of [
    ['TRACE /v1/detokenize', 405],
    ['OPTIONS /v1/detokenize', 405],
    ['OPTIONS *', 404],
    ['HEAD /v1/detokenize', 405],
    ['HEAD /healthz', 200],
    ['PROPFIND /healthz', 405],
    ['HEAD /v1/quarantine/7a/redrive', 405],
    ['DELETE /v1/quarantine/7a', 405],
    ['GET /v1/quarantine/*/redrive', 405],
    ['GET /v1/quarantine/:id/redrive', 405],
    ['GET /v1/quarantine/*/*', 404],
    ['GET /*', 404],
    ['GET /:a', 404],
    ['GET /((((', 404],
    ['GET /v1/:a(x{1,99999999999}', 400],
    ['GET /:__proto__', 404],
    ['BREW /healthz', 400],
    ['get /healthz', 400],
    ['GET healthz', 400],
    ['GET http://attacker.test/healthz', 400],
    ['GET //healthz', 400],
    ['GET /healthz/', 404],
    ['GET /HEALTHZ', 404],
    ['GET /%68ealthz', 400],
    ['GET /./healthz', 400],
    ['GET /v1/../healthz', 400],
    ['GET /v1/%2e%2e/healthz', 400],
    ['GET /docs/..%2f..%2fpackage.json', 400],
    ['GET /healthz%00', 400],
    ['GET /healthz%2f', 400],
    ['GET /healthz;a=b', 404],
    ['GET /healthz?\u00ff', 400],
    ['GET /%c0%af', 400],
    ['GET /heal\tthz', 400],
    ['GET /heal thz', 400],
    ['GET /heal\u0000thz', 400],
  ] as const) {
    t.equal(await ask(line), status, JSON.stringify(line))
  }
})

t.test('what a proxy would say is not believed and changes nothing', async t => {
  const running = await startApp(t)
  const forged = [
    'x-forwarded-for: 198.51.100.7',
    'x-forwarded-host: attacker.test',
    'x-forwarded-proto: https',
    'x-forwarded-port: 1',
    'x-forwarded-prefix: /attacker',
    'forwarded: for=198.51.100.7;host=attacker.test',
    'x-real-ip: 198.51.100.7',
    'x-original-url: /openapi.json',
    'x-rewrite-url: /openapi.json',
    'x-http-method-override: POST',
  ]
  for (const path of ['/openapi.json', '/docs', '/healthz']) {
    const plain = await exchange(running.port, [`GET ${path} HTTP/1.1`, 'host: a'])
    const lied = await exchange(running.port, [`GET ${path} HTTP/1.1`, 'host: attacker.test', ...forged])
    t.equal(lied.status, 200)
    t.equal(lied.text, plain.text, path)
    t.notMatch(JSON.stringify(lied.headers), /attacker/)
  }
  t.notMatch(running.logged(), /attacker|198\.51/)
})

t.test('a request whose end two readers may see at two places is refused, and what follows it is not read', async t => {
  const running = await startApp(t)
  const authorization = `authorization: Bearer ${await signJwt(running.key)}`
  const hidden = `POST /v1/detokenize HTTP/1.1\r\nhost: a\r\n${authorization}\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`
  const framings: Record<string, readonly string[]> = {
    'length and chunks': ['content-length: 4', 'transfer-encoding: chunked'],
    'chunks and length': ['transfer-encoding: chunked', 'content-length: 4'],
    'two lengths': ['content-length: 0', `content-length: ${hidden.length}`],
    'two equal lengths': ['content-length: 2', 'content-length: 2'],
    'a list of lengths': ['content-length: 2, 2'],
    'a length with a sign': ['content-length: +2'],
    'a negative length': ['content-length: -1'],
    'a length in hexadecimal': ['content-length: 0x2'],
    'a length beyond all numbers': [`content-length: ${'9'.repeat(30)}`],
    'a space before the colon': ['content-length : 2'],
    'a line that goes on': ['content-length: 2', ' 3'],
    'a line feed alone': ['x: a\ncontent-length: 2'],
    'a carriage return alone': ['x: a\rcontent-length: 2'],
    'an encoding that only ends alike': ['transfer-encoding: xchunked'],
    'chunked and then another encoding': ['transfer-encoding: chunked, identity'],
    'a size that is no number': ['transfer-encoding: chunked'],
  }
  for (const [name, framing] of Object.entries(framings)) {
    const head = ['POST /v1/detokenize HTTP/1.1', 'host: a', 'content-type: application/json', ...framing]
    const text = await converse(running.port, Buffer.from(`${head.join('\r\n')}\r\n\r\n{}\r\n${hidden}`, 'latin1'))
    t.match(text, /^HTTP\/1\.1 4\d\d /, name)
    t.notMatch(text, /canary-value/, name)
  }
  t.equal(running.calls.length, 0)
})

t.test('what follows a request on its connection does not answer it', async t => {
  const text = JSON.stringify({ purpose: 'fraud_investigation', values: [{ field: 'ip', value: 'x' }] })
  for (const [next, event] of [
    ['NONSENSE', 'clientError'],
    ['CONNECT a:443 HTTP/1.1\r\nhost: a:443', 'connect'],
  ] as const) {
    const entered = Promise.withResolvers<void>()
    const proceed = Promise.withResolvers<void>()
    const running = await startApp(t, {
      verbs: {
        tokenize: async (_principal, { values }) => {
          entered.resolve()
          await proceed.promise
          const items = values.map(({ field }) => ({ field, token: 'ip_v1_token' }))
          return { outcome: 'complete', stored: false, items, receipt }
        },
      },
    })
    const head = [
      'POST /v1/tokenize HTTP/1.1',
      'host: a',
      `authorization: Bearer ${await signJwt(running.key)}`,
      'content-type: application/json',
      `content-length: ${text.length}`,
    ]
    const refused = once(running.app.server, event)
    const replies = converse(running.port, Buffer.from(`${head.join('\r\n')}\r\n\r\n${text}${next}\r\n\r\n`))
    await Promise.all([entered.promise, refused])
    proceed.resolve()
    t.match(await replies, /^HTTP\/1\.1 200 .*"ip_v1_token"/s, event)
    t.notMatch(await replies, /request_malformed/, 'refused it would seem, though it took effect')
  }
})

t.test('who asks for a tunnel and resets the connection takes nobody else along', async t => {
  const running = await startApp(t)
  const asked = once(running.app.server, 'connect') as Promise<[unknown, Socket]>
  const socket = connect(running.port, '127.0.0.1', () => {
    socket.write('CONNECT a:443 HTTP/1.1\r\nhost: a:443\r\n\r\n')
  })
  const [, serverSide] = await asked
  socket.resetAndDestroy()
  // Not by once(), which would hear the error.
  await new Promise(resolve => serverSide.on('close', resolve))
  t.equal((await exchange(running.port, ['GET /healthz HTTP/1.1', 'host: a'])).status, 200)
})
