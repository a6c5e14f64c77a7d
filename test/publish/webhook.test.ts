import { createHmac, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { createLog } from '../../src/log.ts'
import { createWebhook } from '../../src/publish/webhook.ts'
import type { ApprovalNotice } from '../../src/vault/admission/ports.ts'

const key = randomBytes(32)
const secret = `whsec_${key.toString('base64')}`
const notice: ApprovalNotice = {
  id: '0f8e3c52-7f0b-4a53-9d57-5c2a9a1f6d11',
  issuer: 'https://issuer.test',
  subject: 'casey',
  roles: ['investigator'],
  purpose: 'fraud_investigation',
  ticket: 'SEC-1234',
  reveal: 'full',
  values: 6000,
  fields: { ip: 6000 },
  expiresAt: '2026-03-02T09:14:07.512Z',
}

interface Received {
  readonly headers: IncomingMessage['headers']
  readonly body: string
  readonly url: string | undefined
}

type Answer = (response: ServerResponse, attempt: number) => void

/** A receiver on a real port, and a webhook that calls it without waiting long. */
async function build(t: Test, answer: Answer, change: Partial<Parameters<typeof createWebhook>[0]> = {}) {
  const received: Received[] = []
  const server = createServer(async (request, response) => {
    let body = ''
    for await (const part of request.setEncoding('utf8')) body += part
    received.push({ headers: request.headers, body, url: request.url })
    answer(response, received.length)
    server.emit('received')
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  let logged = ''
  const log = createLog('debug', {
    write: line => {
      logged += line
      server.emit('logged')
    },
  })
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/hooks/canary-path`
  const webhook = createWebhook({ url, secret, log, backoffMilliseconds: 2, ...change })
  t.teardown(() => webhook.close())
  const lines = () => logged.split('\n').flatMap(line => (line === '' ? [] : [JSON.parse(line)]))
  const until = async (name: 'received' | 'logged', enough: () => boolean) => {
    while (!enough()) await once(server, name)
  }
  return { webhook, received, lines, logged: () => logged, until, server }
}

const end = (status: number) => (response: ServerResponse) => void response.writeHead(status).end()

t.test('approvers are told who asks, why and for how much, signed the standard way', async t => {
  const { webhook, received, until, logged } = await build(t, end(204))
  webhook.notifyApprovers({ ...notice, tokens: ['ip_v1_canary'] } as ApprovalNotice)
  await until('received', () => received.length === 1)
  await webhook.close()
  const [{ headers, body }] = received as [Received]
  const { timestamp, ...told } = JSON.parse(body)
  t.strictSame(told, { type: 'approval.requested', ...notice })
  t.match(timestamp, /^\d{4}-\d\d-\d\dT/)
  t.notMatch(body, /canary/)
  t.match(headers, { 'content-type': 'application/json', 'webhook-id': notice.id })
  const signed = `${headers['webhook-id']}.${headers['webhook-timestamp']}.${body}`
  t.equal(headers['webhook-signature'], `v1,${createHmac('sha256', key).update(signed).digest('base64')}`)
  t.ok(Math.abs(Number(headers['webhook-timestamp']) - Date.now() / 1000) < 60)
  t.equal(logged(), '')
})

t.test('a receiver that fails is tried three times under one id, and a success ends it', async t => {
  const { webhook, received, until, logged } = await build(t, (response, attempt) =>
    end(attempt < 3 ? 500 : 200)(response),
  )
  webhook.notifyApprovers(notice)
  await until('received', () => received.length === 3)
  await webhook.close()
  t.equal(received.length, 3)
  t.strictSame(new Set(received.map(({ headers }) => headers['webhook-id'])).size, 1)
  t.equal(logged(), '')
})

t.test('what fails for good is one line that holds neither URL nor answer', async t => {
  const failures: [string, Answer, object][] = [
    ['500', response => void response.writeHead(500).end('canary-answer'), { status: 500 }],
    ['404', end(404), { status: 404 }],
    ['cut', response => void response.destroy(), { reason: /^(UND_ERR_SOCKET|ECONNRESET)$/ }],
    ['slow', () => {}, { reason: 'TimeoutError' }],
  ]
  for (const [title, answer, expected] of failures) {
    const { webhook, received, until, lines, logged } = await build(
      t,
      answer,
      title === 'slow' ? { timeoutMilliseconds: 50 } : {},
    )
    webhook.notifyApprovers(notice)
    await until('logged', () => lines().length > 0)
    t.match(lines(), [{ event: 'webhook_failed', level: 'error', attempt: 3, ...expected }], title)
    t.equal(lines().length, 1, title)
    // On a busy machine a try may run out before it reaches the receiver.
    if (title !== 'slow') t.equal(received.length, 3, title)
    t.notMatch(logged(), /canary|127\.0\.0\.1|whsec|casey/, title)
  }
})

t.test('a redirect is not followed: nobody but the receiver is told', async t => {
  const elsewhere = await build(t, end(200))
  const { port } = elsewhere.server.address() as AddressInfo
  for (const status of [301, 302, 307, 308]) {
    const { webhook, lines, until } = await build(t, response => {
      response.writeHead(status, { location: `http://127.0.0.1:${port}/` }).end()
    })
    webhook.notifyApprovers(notice)
    await until('logged', () => lines().length > 0)
    t.match(lines(), [{ event: 'webhook_failed', status }])
  }
  t.strictSame(elsewhere.received, [])
})

t.test('a receiver that is down fails by its code', async t => {
  const { webhook, lines, until, server } = await build(t, end(200))
  const closed = once(server, 'close')
  server.close()
  await closed
  webhook.notifyApprovers(notice)
  await until('logged', () => lines().length > 0)
  t.match(lines(), [{ reason: 'ECONNREFUSED', attempt: 3 }])
})

t.test('an answer that never ends holds up nothing', async t => {
  const { webhook, received, logged } = await build(t, response => {
    response.writeHead(200).write('x')
  })
  webhook.notifyApprovers(notice)
  await webhook.close()
  t.equal(received.length, 1)
  t.equal(logged(), '')
})

t.test('stopping finishes what is under way without further waits', async t => {
  const hour = 3_600_000
  const { webhook, received, until } = await build(t, (response, attempt) => end(attempt < 3 ? 503 : 200)(response), {
    backoffMilliseconds: hour,
  })
  webhook.notifyApprovers(notice)
  await until('received', () => received.length === 1)
  await webhook.close()
  t.equal(received.length, 3)
})

t.test('stopping gives up what takes too long, and says so', async t => {
  const { webhook, received, until, lines } = await build(t, () => {}, { closeMilliseconds: 20 })
  webhook.notifyApprovers(notice)
  await until('received', () => received.length === 1)
  await webhook.close()
  t.match(lines(), [{ event: 'webhook_failed', attempt: 1, reason: 'AbortError' }])
  webhook.notifyApprovers(notice)
  t.match(lines()[1], { event: 'webhook_failed', reason: 'closing' })
})
