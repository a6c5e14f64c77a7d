import { once } from 'node:events'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Test } from 'tap'

/** What becomes of a call: passed on, answered otherwise, or left without an answer. */
export type Verdict = 'pass' | 'hang' | { readonly status: number; readonly body: object; readonly headers?: object }

/**
 * Stands before an API, and decides about each call before it is passed on, and again before its answer is.
 *
 * @param options.before a call with its number from 1 and its body
 * @param options.after the API has answered, and the caller has not heard yet
 */
export async function startStoreProxy(
  t: Pick<Test, 'teardown'>,
  origin: string,
  options: {
    readonly before?: (call: number, body: string) => Verdict | Promise<Verdict>
    readonly after?: (call: number, answer: string) => string | undefined | Promise<string | undefined>
  } = {},
) {
  const { before = () => 'pass', after = (_, answer) => answer } = options
  let calls = 0
  const bodies: string[] = []
  const server = http.createServer(async (request, response) => {
    const call = ++calls
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk)
    const body = Buffer.concat(chunks).toString('utf8')
    bodies.push(body)
    const verdict = await before(call, body)
    if (verdict === 'hang') return
    if (verdict !== 'pass') {
      response.writeHead(verdict.status, { 'content-type': 'application/problem+json', ...verdict.headers })
      return void response.end(JSON.stringify(verdict.body))
    }
    const reply = await fetch(`${origin}${request.url}`, {
      method: request.method!,
      headers: {
        authorization: request.headers.authorization ?? '',
        'content-type': request.headers['content-type'] ?? 'application/json',
      },
      body,
    })
    const answer = await after(call, await reply.text())
    if (answer === undefined) return
    response.writeHead(reply.status, {
      'content-type': reply.headers.get('content-type') ?? 'application/json',
      ...(reply.headers.has('retry-after') ? { 'retry-after': reply.headers.get('retry-after')! } : {}),
    })
    response.end(answer)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, calls: () => calls, bodies }
}
