import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { runCommand } from '../helpers/cli/cli.ts'
import { temporaryDirectory } from '../helpers/embedded/embedded-directory.ts'

/** Runs a command against a server that answers as it likes, `tokenvault detokenize` unless told. */
async function detokenize(t: Test, path: string, answer: RequestListener, command = ['detokenize', 'x']) {
  const server = createServer(answer).listen(0, '127.0.0.1')
  t.teardown(() => server.close())
  await once(server, 'listening')
  const jwtFile = join(temporaryDirectory(t), 'jwt')
  writeFileSync(jwtFile, 'x')
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}${path}`
  return runCommand(t, [...command, '--purpose', 'test', '--url', url, '--jwt-file', jwtFile])
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

t.test('a refusal of the API is told with its detail, window, wait and own remedy', async t => {
  const problem = {
    ...{ status: 429, code: 'budget_exceeded', title: 'The call would take more.', requestId: 'some-id' },
    ...{ detail: 'the call asks for 3 values', window: 'day', remedy: 'Ask\u001b[2J the security team.' },
  }
  const { code, stderr } = await detokenize(t, '', (_, reply) =>
    reply.writeHead(429, { 'retry-after': '77' }).end(JSON.stringify(problem)),
  )
  t.equal(code, 1)
  t.equal(
    stderr,
    'tokenvault: api_refused: 429 budget_exceeded: The call would take more. (request some-id). The call asks for 3 values. ' +
      'It is the budget of a day. Retry-After: 77 seconds. Ask\\u{1b}[2J the security team.\n',
  )
})

t.test('a refusal without more is told as it is, with where to look it up', async t => {
  const { stderr } = await detokenize(t, '', (_, reply) =>
    reply.writeHead(400).end(JSON.stringify({ code: 'new_code', title: 'New.', requestId: 'some-id' })),
  )
  t.equal(
    stderr,
    'tokenvault: api_refused: 400 new_code: New. (request some-id). Look up the code in the OpenAPI document at /docs.\n',
  )
})

t.test('refused items are told once a code, with what to do', async t => {
  const refused = (code: string) => ({ token: 'x', error: { code } })
  const results = ['token_malformed', 'token_malformed', 'constructor', 'token_unknown'].map(refused)
  const { code, stdout, stderr } = await detokenize(t, '', (_, reply) => reply.end(JSON.stringify({ results })))
  t.equal(code, 1)
  t.equal(stdout.split('\n').length, 5)
  t.match(stderr, /^tokenvault: token_malformed: .* Send tokens exactly .*\ntokenvault: token_unknown: [^\n]*\n$/)
})

t.test('a JWT file that is not there is said to be missing', async t => {
  const args = ['detokenize', 'x', '--purpose', 'test', '--url', 'http://127.0.0.1:1', '--jwt-file', 'nowhere']
  t.match(await runCommand(t, args), { code: 2, stderr: /^tokenvault: usage: --jwt-file does not exist \(ENOENT\)/ })
})
