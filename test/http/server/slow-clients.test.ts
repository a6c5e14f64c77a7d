import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { post, type RunningApp, receipt, startApp } from '../../helpers/http/http-app.ts'
import { signJwt } from '../../helpers/http/jwks-server.ts'
import { parseReply } from '../../helpers/http/raw-http.ts'

const impatient = { headersMilliseconds: 300, requestMilliseconds: 600, silenceMilliseconds: 1500 }
const request = { purpose: 'fraud_investigation', tokens: ['ip_v1_AAAA'] }
const body = JSON.stringify(request)

/** A connection on which the test writes what it likes; it never closes its side by itself. */
function open(t: Test, { port }: RunningApp): { socket: Socket; ended: Promise<string> } {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  t.teardown(() => socket.destroy())
  let text = ''
  socket.setEncoding('utf8').on('data', part => {
    text += part
  })
  // Cut while it writes, which is what the tests are about.
  socket.on('error', () => undefined)
  const ended = new Promise<string>(resolve => {
    for (const event of ['end', 'close']) socket.on(event, () => resolve(text))
  })
  return { socket, ended }
}

/** Writes one byte after the other, around again for ever, until the connection is cut. */
async function drip(socket: Socket, bytes: string) {
  for (let at = 0; socket.writable; at = (at + 1) % bytes.length) {
    socket.write(bytes[at]!)
    await delay(10)
  }
}

async function headOf({ key }: RunningApp, length: number | 'chunked', jwt?: string) {
  const framing = length === 'chunked' ? 'transfer-encoding: chunked' : `content-length: ${length}`
  const authorization = `authorization: Bearer ${jwt ?? (await signJwt(key))}`
  return `POST /v1/detokenize HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n${authorization}\r\n${framing}\r\n\r\n`
}

t.test('clients that keep a connection busy are cut, and nobody else waits for them', async t => {
  const running = await startApp(t, { clientTimeouts: impatient })
  const slow: Record<string, (socket: Socket) => void> = {
    'nothing at all': () => undefined,
    'half a request line': socket => socket.write('POST /v1/deto'),
    'headers, one byte at a time': socket =>
      void drip(socket, 'x-pad: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'),
    'headers that never end': socket => {
      socket.write('GET /healthz HTTP/1.1\r\nhost: a\r\n')
      void drip(socket, 'a: b\r\n')
    },
    'a body that never comes': async socket => socket.write(await headOf(running, body.length)),
    'a body, one byte at a time': async socket => {
      socket.write(await headOf(running, 1_000_000))
      void drip(socket, ' ')
    },
    'chunks of one byte': async socket => {
      socket.write(await headOf(running, 'chunked'))
      void drip(socket, '1\r\n \r\n')
    },
    'a chunk that never comes': async socket => socket.write(`${await headOf(running, 'chunked')}ffff\r\n{`),
    'line breaks before the request': socket => void drip(socket, '\r\n'),
    'a second request that never comes': socket => socket.write('GET /healthz HTTP/1.1\r\nhost: a\r\n\r\nGET'),
  }
  const cut = Object.entries(slow).map(async ([name, begin]) => {
    const { socket, ended } = open(t, running)
    await once(socket, 'connect')
    begin(socket)
    return [name, await ended] as const
  })
  const many = Array.from({ length: 200 }, () => open(t, running))
  for (const { socket } of many) socket.write('GET /healthz HTTP/1.1\r\nx: ')
  t.equal((await post(running, '/v1/detokenize', request)).status, 200, 'others are served meanwhile')
  for (const [name, text] of await Promise.all(cut)) {
    const last = parseReply(text.slice(Math.max(0, text.lastIndexOf('HTTP/1.1 '))))
    t.ok(last.status === 408 || last.status === 400 || text === '', `${name}: ${last.status}`)
    const code = last.status === 408 ? 'request_timeout' : 'request_malformed'
    if (text !== '') t.match(JSON.parse(last.text), { code, status: last.status }, name)
  }
  for (const { ended } of many) t.match(await ended, /^(HTTP\/1\.1 408 |$)/)
  t.equal(running.calls.length, 1, 'no verb ran for half a request')
})

t.test('a client that is cut and does not close loses its connection all the same', async t => {
  const running = await startApp(t, { clientTimeouts: impatient })
  const accepted = once(running.app.server, 'connection') as Promise<[Socket]>
  const { socket } = open(t, running)
  socket.write('NONSENSE\r\n\r\n')
  const [serverSide] = await accepted
  await once(serverSide, 'close')
  t.ok(serverSide.destroyed)
})

t.test('a client that does not read its reply is cut', async t => {
  const value = 'x'.repeat(32 * 1024 * 1024)
  const running = await startApp(t, {
    clientTimeouts: impatient,
    verbs: {
      tokenize: async () => ({ outcome: 'complete', stored: false, items: [{ field: 'ip', token: value }], receipt }),
    },
  })
  const accepted = once(running.app.server, 'connection') as Promise<[Socket]>
  const { socket } = open(t, running)
  socket.pause()
  const text = JSON.stringify({ purpose: 'fraud_investigation', values: [{ field: 'ip', value: 'x' }] })
  socket.write((await headOf(running, text.length)).replace('detokenize', 'tokenize') + text)
  const [serverSide] = await accepted
  await once(serverSide, 'close')
  t.ok(serverSide.destroyed)
  t.equal((await post(running, '/v1/detokenize', request)).status, 200)
})

t.test('a client that closes its side is taken for gone, and half a request of it does nothing', async t => {
  const running = await startApp(t, { clientTimeouts: impatient })
  const half = open(t, running)
  half.socket.end((await headOf(running, body.length)) + body.slice(0, 10))
  t.match(await half.ended, /^(HTTP\/1\.1 400 |$)/)
  const whole = open(t, running)
  whole.socket.end((await headOf(running, body.length)) + body)
  t.match(await whole.ended, /^(HTTP\/1\.1 200 |$)/)
  t.equal((await post(running, '/v1/detokenize', request)).status, 200)
  t.ok(running.calls.length <= 2)
})

t.test('bodies are bounded before they are read', async t => {
  const running = await startApp(t, { clientTimeouts: impatient })
  const announced = open(t, running)
  announced.socket.write(await headOf(running, 5_000_000_000))
  const refused = parseReply(await announced.ended)
  t.equal(refused.status, 413)
  t.match(JSON.parse(refused.text), { code: 'body_too_large' })

  const endless = open(t, running)
  endless.socket.write(await headOf(running, 'chunked'))
  const chunk = `10000\r\n${' '.repeat(0x10000)}\r\n`
  const pour = () => {
    while (endless.socket.writable && endless.socket.write(chunk));
  }
  endless.socket.on('drain', pour)
  pour()
  t.equal(parseReply(await endless.ended).status, 413)
  t.equal(running.calls.length, 0)
})

t.test('a body without a credential is not waited for, however long it is announced', async t => {
  const running = await startApp(t, { clientTimeouts: impatient })
  const { socket, ended } = open(t, running)
  socket.write(await headOf(running, 4_000_000, 'x.y.z'))
  void drip(socket, ' ')
  const text = await ended
  t.equal(parseReply(text).status, 401)
  t.match(text, /"code":"unauthenticated"/)
})
