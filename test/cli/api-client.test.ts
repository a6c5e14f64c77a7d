import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { runCommand } from '../helpers/cli/cli.ts'
import { temporaryDirectory } from '../helpers/embedded/embedded-directory.ts'

/** Runs `tokenvault detokenize` against a server that answers as it likes. */
async function detokenize(t: Test, path: string, answer: RequestListener) {
  const server = createServer(answer).listen(0, '127.0.0.1')
  t.teardown(() => server.close())
  await once(server, 'listening')
  const jwtFile = join(temporaryDirectory(t), 'jwt')
  writeFileSync(jwtFile, 'x')
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}${path}`
  return runCommand(t, ['detokenize', 'x', '--purpose', 'test', '--url', url, '--jwt-file', jwtFile])
}

t.test('a path of --url stays, as behind a proxy; a value steers no terminal', async t => {
  let asked: string | undefined
  const { code, stdout } = await detokenize(t, '/vault/', ({ url }, reply) => {
    asked = url
    reply.end(JSON.stringify({ results: [{ token: 'x', value: 'a\u001b[2J\nb' }] }))
  })
  t.strictSame([code, asked, stdout], [0, '/vault/v1/detokenize', 'x\ta\\u{1b}[2J\\u{a}b\n'])
})

t.test('an answer that is no JSON is told as such, with exit code 1', async t => {
  for (const status of [200, 502]) {
    const { code, stderr } = await detokenize(t, '', (_, reply) => reply.writeHead(status).end('<html>'))
    t.equal(code, 1)
    t.match(stderr, `tokenvault: api_unavailable: ${status}, and no answer of tokenvault’s`)
  }
})
