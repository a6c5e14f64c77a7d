import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import t, { type Test } from 'tap'
import { BodyBudget } from '../../../src/http/server/body-budget.ts'
import { post, type RunningApp, startApp } from '../../helpers/http/http-app.ts'
import { signJwt } from '../../helpers/http/jwks-server.ts'
import { exchange, parseReply } from '../../helpers/http/raw-http.ts'

const mebibyte = 1024 * 1024
const request = { purpose: 'fraud_investigation', tokens: ['ip_v1_AAAA'] }

/** A connection on which the test writes, and what came back so far. */
async function open(t: Test, { port }: RunningApp) {
  const socket = connect(port, '127.0.0.1')
  t.teardown(() => socket.destroy())
  const reply = { text: '' }
  socket.setEncoding('utf8').on('data', part => {
    reply.text += part
  })
  // Refused while it writes.
  socket.on('error', () => undefined)
  await once(socket, 'connect')
  return { socket, reply }
}

function headOf(jwt: string, framing: string, path = '/v1/detokenize', ...more: string[]): string {
  const authorization = `authorization: Bearer ${jwt}`
  const head = [`POST ${path} HTTP/1.1`, 'host: a', 'content-type: application/json', authorization, framing, ...more]
  return `${head.join('\r\n')}\r\n\r\n`
}

const turn = () => new Promise(resolve => setImmediate(resolve))

/** Sends all of a body but its end on many connections, and waits until each is held or was refused. */
async function pour(
  t: Test,
  running: RunningApp,
  { jwts, bytes, framing }: { jwts: readonly string[]; bytes: Buffer; framing: string },
) {
  const { bodyBudget: budget } = running.app
  const before = budget.heldBytes
  const opened: { socket: Socket; reply: { text: string } }[] = []
  let held = 0
  for (const jwt of jwts) {
    const one = await open(t, running)
    opened.push(one)
    const last = budget.heldBytes
    one.socket.write(headOf(jwt, framing))
    one.socket.write(bytes)
    const isThere = () => budget.heldBytes >= last + mebibyte || one.reply.text.includes('"code"')
    while (!isThere()) await turn()
    if (!one.reply.text.includes('"code"')) held += 1
    t.ok(budget.heldBytes <= budget.maxBytes, 'within the budget')
  }
  return { opened, held, before }
}

t.test('bodies of many connections take no more memory than the budget, and others are answered', async t => {
  const running = await startApp(t, { maxBodyBytes: 16 * mebibyte })
  const budget = running.app.bodyBudget
  const greedy = await signJwt(running.key, { sub: 'greedy' })
  const others = ['a', 'b', 'c', 'd', 'e'].map(sub => signJwt(running.key, { sub }))
  const part = Buffer.alloc(mebibyte, ' ')
  const framing = `content-length: ${mebibyte + 1}`

  // One caller gets no more than a quarter.
  const first = await pour(t, running, { jwts: Array(10).fill(greedy), bytes: part, framing })
  t.equal(first.held, 3, 'a fourth would be a byte each too many')
  for (const { reply } of first.opened.slice(3)) {
    t.match(parseReply(reply.text), { status: 503, headers: { 'retry-after': '5', connection: 'close' } })
    t.match(reply.text, /"code":"overloaded"/)
  }
  t.equal((await post(running, '/v1/detokenize', request)).status, 200, 'an honest caller is answered')

  // Many callers fill it together.
  const jwts = (await Promise.all(others)).flatMap(jwt => Array<string>(4).fill(jwt))
  const all = await pour(t, running, { jwts, bytes: part, framing })
  t.ok(all.held >= 10 && all.held < 15, `${all.held} of 20`)
  t.ok(budget.peakBytes <= 16 * mebibyte, `${budget.peakBytes} at most`)
  const honest = await post(running, '/v1/detokenize', request)
  t.equal(honest.status, 200, 'what little is left is enough for a small call')

  // Who hangs up gives back what was held.
  for (const { socket } of [...first.opened, ...all.opened]) socket.destroy()
  while (budget.heldBytes > 0) await turn()
  t.equal((await post(running, '/v1/detokenize', { ...request, tokens: ['t'.repeat(3 * mebibyte)] })).status, 200)
  t.equal(budget.heldBytes, 0, 'and who is answered, too')
})

t.test('a budget that is full is said with 503 and Retry-After, before the body is read', async t => {
  const running = await startApp(t, { maxBodyBytes: 4 * mebibyte })
  const budget = running.app.bodyBudget
  const hold = budget.hold('somebody')
  hold.growTo(4 * mebibyte)
  const jwt = await signJwt(running.key)
  const { socket, reply } = await open(t, running)
  socket.write(`${headOf(jwt, 'content-length: 1000')}{`)
  await once(socket, 'close')
  t.match(parseReply(reply.text), { status: 503, headers: { 'retry-after': '5' } })
  hold.release()
  t.equal((await post(running, '/v1/detokenize', request)).status, 200)
})

t.test('memory is counted as it is taken: announcing takes none, and neither do thousands of tiny chunks', async t => {
  const running = await startApp(t, { maxBodyBytes: 16 * mebibyte })
  const budget = running.app.bodyBudget
  const jwt = await signJwt(running.key)
  const announced = await open(t, running)
  announced.socket.write(`${headOf(jwt, 'content-length: 4000000')}{`)
  while (budget.heldBytes === 0) await turn()
  t.equal(budget.heldBytes, 16 * 1024, 'a page, and not 4 MB')
  const tiny = await open(t, running)
  tiny.socket.write(headOf(jwt, 'transfer-encoding: chunked') + '1\r\n \r\n'.repeat(100_000))
  while (budget.heldBytes < 16 * 1024 + 100_000) await turn()
  t.ok(budget.heldBytes <= 16 * 1024 + 2 * 100_000, `${budget.heldBytes} bytes for 100,000 chunks`)
})

t.test('callers without any role share what one caller may hold', async t => {
  const running = await startApp(t, { maxBodyBytes: 16 * mebibyte })
  const jwts = await Promise.all(
    Array.from({ length: 8 }, (_, index) => signJwt(running.key, { sub: `nobody-${index}`, roles: ['a-stranger'] })),
  )
  const bytes = Buffer.alloc(mebibyte, ' ')
  const { held } = await pour(t, running, { jwts, bytes, framing: `content-length: ${mebibyte + 1}` })
  t.equal(held, 3)
})

t.test(
  'no body is read of who shows no access token, of an unknown path, or beyond what the operation takes',
  async t => {
    const running = await startApp(t)
    const jwt = await signJwt(running.key)
    const chunk = Buffer.alloc(100_000, ' ')
    const cases = [
      ['/v1/detokenize', 'x.y.z', 'content-length: 4000000', 401, 'unauthenticated'],
      ['/nothing', 'x.y.z', 'content-length: 4000000', 404, 'route_not_found'],
      ['/healthz', 'x.y.z', 'content-length: 4000000', 405, 'method_not_allowed'],
      ['/v1/suspensions/lift', jwt, 'content-length: 100000', 413, 'body_too_large'],
      ['/v1/detokenize', jwt, 'content-length: 4194305', 413, 'body_too_large'],
      ['/v1/detokenize', jwt, 'content-length: 100000', 400, 'body_malformed'],
    ] as const
    for (const [path, bearer, framing, status, code] of cases) {
      for (const more of [[], ['expect: 100-continue']]) {
        const { socket, reply } = await open(t, running)
        socket.write(headOf(bearer, framing, path, 'connection: close', ...more))
        // Only a server that wants the body says 100.
        if (code === 'body_malformed') socket.write(chunk)
        while (!reply.text.includes('"code"')) await turn()
        const [first, ...rest] = reply.text.split(/(?=HTTP\/1\.1 )/)
        const asksForIt = more.length > 0 && code === 'body_malformed'
        if (asksForIt) t.match(first, /^HTTP\/1\.1 100 /, `${path} ${code}`)
        t.match(parseReply(asksForIt ? rest.join('') : reply.text), { status }, `${path} ${code}`)
        t.match(reply.text, `"code":"${code}"`)
      }
    }
    t.ok(running.app.bodyBudget.peakBytes <= 200_000, 'only the last was read')
  },
)

t.test('connections beyond the cap are closed as they come, and the ones before them go on', async t => {
  const running = await startApp(t, { maxConnections: 5 })
  const opened = await Promise.all(Array.from({ length: 5 }, () => open(t, running)))
  const sixth = connect(running.port, '127.0.0.1')
  t.teardown(() => sixth.destroy())
  sixth.on('error', () => undefined)
  await once(sixth, 'close')
  t.match(running.logged(), /"event":"connections_dropped","count":1/)
  opened[0]!.socket.write('GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n')
  while (!opened[0]!.reply.text.includes('}')) await turn()
  t.equal(parseReply(opened[0]!.reply.text).status, 200)
  opened[1]!.socket.destroy()
  await once(opened[1]!.socket, 'close')
  let status = 0
  // The server may learn a moment later that the place is free.
  while (status !== 200) {
    status = await exchange(running.port, ['GET /healthz HTTP/1.1', 'host: a']).then(
      reply => reply.status,
      () => 0,
    )
  }
  t.equal(status, 200)
})

t.test('what is refused holds nothing, and giving back twice gives once', async t => {
  const budget = new BodyBudget(100, 40)
  const [a, b, c] = ['a', 'a', 'b'].map(holder => budget.hold(holder)) as [
    ReturnType<BodyBudget['hold']>,
    ReturnType<BodyBudget['hold']>,
    ReturnType<BodyBudget['hold']>,
  ]
  a.growTo(30)
  t.throws(() => b.growTo(11), { code: 'overloaded' }, 'both are of one holder')
  b.growTo(10)
  c.growTo(40)
  t.equal(budget.heldBytes, 80)
  const d = budget.hold('d')
  t.throws(() => d.growTo(21), { code: 'overloaded' })
  t.equal(budget.heldBytes, 80)
  a.release()
  a.release()
  t.equal(budget.heldBytes, 50)
  for (const hold of [b, c, d]) hold.release()
  t.strictSame([budget.heldBytes, budget.peakBytes], [0, 80])
})
