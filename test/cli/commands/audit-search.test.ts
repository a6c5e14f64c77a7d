import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { json } from 'node:stream/consumers'
import t, { type Test } from 'tap'
import { runInProcess } from '../../helpers/cli/cli-in-process.ts'
import { temporaryDirectory } from '../../helpers/embedded/embedded-directory.ts'

/** An API that gives these pages one after the other, and the options that name it. */
async function startPages(t: Test, pages: readonly object[]) {
  const asked: object[] = []
  const server = createServer(async (request, reply) => {
    asked.push((await json(request)) as object)
    reply.end(JSON.stringify(pages[asked.length - 1]))
  }).listen(0, '127.0.0.1')
  t.teardown(() => server.close())
  await once(server, 'listening')
  const jwtFile = join(temporaryDirectory(t), 'jwt')
  writeFileSync(jwtFile, 'x')
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return { asked, search: ['audit', 'search', '--purpose', 'test_case', '--url', url, '--jwt-file', jwtFile] }
}

t.test('a search goes on over short pages, up to the limit and no further', async t => {
  const event = (sequence: number) => ({ sequence, subject: 'casey' })
  const pages = [
    { events: [], next: 900 },
    { events: [event(800)], next: 700 },
    { events: [event(650), event(600)], next: 600 },
  ]
  const { asked, search } = await startPages(t, pages)
  const { code, stdout, stderr } = await runInProcess([...search, '--subject', 'casey', '--limit', '3', '--json'])
  t.strictSame({ code, stderr }, { code: 0, stderr: '' })
  t.strictSame(JSON.parse(stdout), { events: [800, 650, 600].map(event), next: 600 })
  const body = { purpose: 'test_case', where: { subject: 'casey' } }
  t.strictSame(asked, [
    { ...body, limit: 3 },
    { ...body, limit: 3, before: 900 },
    { ...body, limit: 2, before: 700 },
  ])
})

t.test('every criterion has an option', async t => {
  const { asked, search } = await startPages(t, [{ events: [] }])
  const options = [
    ...['--field', 'ip', '--subject', 's', '--issuer', 'i', '--actor', 'a', '--actor-issuer', 'ai', '--client', 'c'],
    ...['--for-purpose', 'p', '--ticket', 'T-1', '--type', 'detokenize', '--decision', 'refused', '--code', 'x'],
    ...['--from', '2026-03-01T00:00:00Z', '--to', '2026-03-02T00:00:00Z', '--token', 't', '--before', '7'],
  ]
  t.match(await runInProcess([...search, ...options]), { code: 0, stdout: 'no event is found\n' })
  const where = {
    ...{ token: 't', field: 'ip', subject: 's', issuer: 'i', actor: 'a', actorIssuer: 'ai', client: 'c', purpose: 'p' },
    ...{ ticket: 'T-1', type: 'detokenize', decision: 'refused', code: 'x' },
    ...{ from: '2026-03-01T00:00:00Z', to: '2026-03-02T00:00:00Z' },
  }
  t.strictSame(asked, [{ purpose: 'test_case', where, limit: 100, before: 7 }])
})
