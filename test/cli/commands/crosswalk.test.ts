import { once } from 'node:events'
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { json } from 'node:stream/consumers'
import t, { type Test } from 'tap'
import { runInProcess } from '../../helpers/cli/cli-in-process.ts'
import { refuse } from '../../helpers/cli/tokenize-server.ts'
import { temporaryDirectory } from '../../helpers/embedded/embedded-directory.ts'

const next = 'a'.repeat(32)

/** A server that gives two pages of one pair, and the command that asks it for them. */
async function setUp(t: Test, answer: (reply: ServerResponse, number: number) => boolean) {
  const asked: unknown[] = []
  const server = createServer(async (request, reply) => {
    const { before } = (await json(request)) as { before?: string }
    asked.push(before)
    if (answer(reply, asked.length)) return
    const page = { pairs: [{ hash: `h${before ?? ''}`, token: 'ip_v1_x' }], withheld: [] }
    reply.end(JSON.stringify(before === undefined ? { ...page, next } : page))
  }).listen(0, '127.0.0.1')
  t.teardown(() => {
    server.close()
    server.closeAllConnections()
  })
  await once(server, 'listening')
  const folder = temporaryDirectory(t)
  const [jwt, out] = [join(folder, 'jwt'), join(folder, 'pairs.csv')]
  writeFileSync(jwt, 'x')
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const what = ['--field', 'ip', '--scheme', 'sha256', '--purpose', 'test_case']
  const run = () => runInProcess(['crosswalk', ...what, '--url', url, '--jwt-file', jwt, '--out', out])
  return { asked, out, run }
}

t.test('an API that is busy, or a budget of a minute, loses no page that was given before', async t => {
  const { asked, out, run } = await setUp(t, (reply, number) => {
    if (number === 1) return refuse(reply, 503, 'overloaded', { 'retry-after': '0' })
    return number === 3 && refuse(reply, 429, 'budget_exceeded', { 'retry-after': '0' })
  })
  t.match(await run(), { code: 0 })
  t.strictSame(asked, [undefined, undefined, next, next])
  t.equal(readFileSync(out, 'utf8'), `hash,token\nh,ip_v1_x\nh${next},ip_v1_x\n`)
  t.equal(statSync(out).mode & 0o777, 0o600)
})

t.test('what waiting does not change ends it at once, and no half of a file stays', async t => {
  const { asked, out, run } = await setUp(
    t,
    (reply, number) => number === 2 && refuse(reply, 403, 'role_not_permitted'),
  )
  t.match(await run(), { code: 1, stderr: /api_refused: 403 role_not_permitted/ })
  t.strictSame(asked, [undefined, next])
  t.notOk(existsSync(out))
})
