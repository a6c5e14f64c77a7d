import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { startFauxqs } from 'fauxqs'
import type { Test } from 'tap'

export interface S3UnderTest {
  readonly endpoint: string
  /** Calls that came in: `PUT /bucket/key`. */
  readonly calls: string[]
  /** The text of an object; undefined where there is none. */
  read(bucket: string, key: string): Promise<string | undefined>
  /** What to do with the calls from now on. */
  behave(how: 'well' | 'hang' | 'deny'): void
}

/**
 * A real S3 server with buckets, closed with the test. It ignores `If-None-Match` on PutObject, so what stands before it
 * answers that as S3 does (API reference, PutObject): 412 PreconditionFailed where the object is there, one writer at a time.
 */
export async function startS3(t: Pick<Test, 'teardown'>, buckets: readonly string[]): Promise<S3UnderTest> {
  const server = await startFauxqs({ port: 0, logger: false })
  for (const bucket of buckets) server.createBucket(bucket)
  const target = `http://127.0.0.1:${server.port}`
  const calls: string[] = []
  let how: Parameters<S3UnderTest['behave']>[0] = 'well'
  let turn = Promise.resolve()
  const pass = async (request: IncomingMessage, response: ServerResponse) => {
    const { method = '', url = '', headers } = request
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk)
    calls.push(`${method} ${url}`)
    if (how === 'hang') return
    if (how === 'deny') return answerError(response, 403, 'AccessDenied')
    const plain = url.split('?')[0]!
    if (method === 'PUT' && headers['if-none-match'] === '*') {
      const { status } = await fetch(`${target}${plain}`, { method: 'HEAD' })
      if (status === 200) return answerError(response, 412, 'PreconditionFailed')
    }
    const names = ['authorization', 'range', 'content-type', 'content-encoding', 'x-amz-decoded-content-length']
    const passed = names.flatMap(name => (headers[name] === undefined ? [] : [[name, String(headers[name])] as const]))
    const body = method === 'PUT' || method === 'POST' ? { body: Buffer.concat(chunks) } : {}
    const reply = await fetch(`${target}${url}`, { method, headers: passed.map(([n, v]) => [n, v]), ...body })
    response.writeHead(reply.status, { 'content-type': reply.headers.get('content-type') ?? 'text/plain' })
    response.end(Buffer.from(await reply.arrayBuffer()))
  }
  const front = createServer((request, response) => {
    turn = turn.then(() => pass(request, response)).catch(() => void response.destroy())
  })
  front.listen(0, '127.0.0.1')
  await once(front, 'listening')
  t.teardown(async () => {
    front.close()
    front.closeAllConnections()
    await server.stop()
  })
  return {
    endpoint: `http://127.0.0.1:${(front.address() as AddressInfo).port}`,
    calls,
    async read(bucket, key) {
      const reply = await fetch(`${target}/${bucket}/${key}`)
      return reply.ok ? reply.text() : undefined
    },
    behave: next => {
      how = next
    },
  }
}

function answerError(response: ServerResponse, status: number, code: string): void {
  response.writeHead(status, { 'content-type': 'application/xml' })
  response.end(
    `<?xml version="1.0" encoding="UTF-8"?><Error><Code>${code}</Code><Message>secret-canary</Message></Error>`,
  )
}
