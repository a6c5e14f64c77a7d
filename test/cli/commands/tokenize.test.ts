import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { json } from 'node:stream/consumers'
import t from 'tap'
import { runCommand, startCommand } from '../../helpers/cli/cli.ts'
import { runInProcess } from '../../helpers/cli/cli-in-process.ts'
import { temporaryDirectory } from '../../helpers/embedded/embedded-directory.ts'
import { sampleInput } from '../../helpers/vault/login-input.ts'

t.test(
  'under `npm start`: from a value to its token, to who asked for it, and the books',
  { timeout: 150_000 },
  async t => {
    const dataDir = temporaryDirectory(t)
    const { path, logins } = sampleInput(temporaryDirectory(t))
    const up = startCommand(t, ['up', '--port', '0', '--data-dir', dataDir, '--input', path])
    await up.printed(/see this again/)
    t.match(up.stdout(), / postgresql:\/\/tokenvault_analyst@/, 'a URL that SQLAlchemy takes too')
    const here = ['--purpose', 'test_case', '--data-dir', dataDir]
    const values = logins.slice(0, 3).map(({ ip }) => ip)
    const input = `${values.join('\n')}\n`

    const tokenize = ['tokenize', 'ip', ...here]
    const { code, stdout, stderr } = await runCommand(t, tokenize, {}, input)
    t.strictSame({ code, stderr }, { code: 0, stderr: '' })
    const tokens = stdout.trimEnd().split('\n')
    const back = await runInProcess(['detokenize', ...tokens, ...here])
    t.equal(
      back.stdout,
      tokens.map((token, n) => `${token}\t${values[n]}\n`).join(''),
      'the tokens of these values, in order',
    )

    const dry = (...asked: string[]) => runInProcess(['detokenize', ...asked, '--dry-run', ...here])
    t.strictSame(await dry(...tokens), {
      ...{ code: 0, stderr: '' },
      stdout: [
        ...['answer: the values', 'field ip: 3 values, level full'],
        'budget of a minute: 19994 of 20000 values are left, and the call takes 3',
        'budget of a day: 99994 of 100000 values are left, and the call takes 3',
        'Without an approval, 7 of 10 values in 1 hour are left.\n',
      ].join('\n'),
    })
    t.match(await dry(tokens[0]!, 'x'), {
      code: 1,
      stdout: /^withheld: 1 token, token_malformed$/m,
      stderr: /malformed/,
    })
    const eleven = Array.from({ length: 11 }, (_, n) => tokens[0]!.replace(/.{3}$/, `${n + 10}A`))
    t.match(await dry(...eleven), {
      code: 3,
      stdout: /^answer: an approval is needed first\n.*\napproval: decided by approver; not asked for yet/s,
    })

    const byArgument = await runCommand(t, [...tokenize, ...values])
    t.strictSame(byArgument, { code: 0, stdout, stderr: '' }, 'values as arguments')
    const mixed = await runCommand(t, tokenize, {}, `no address\r\n${values[0]}`)
    t.match(mixed, {
      code: 1,
      stdout: `error: value_invalid\n${tokens[0]}\n`,
      stderr: /^tokenvault: value_invalid: [^\n]*\n$/,
    })
    t.notMatch(mixed.stdout + mixed.stderr, 'no address', 'no value is repeated')
    const json = JSON.parse((await runCommand(t, [...tokenize, '--json'], {}, input)).stdout)
    t.strictSame(
      json.results,
      tokens.map(token => ({ field: 'ip', token })),
    )
    t.equal(json.stored, false)
    const stored = JSON.parse((await runCommand(t, [...tokenize, '--store', '--json'], {}, input)).stdout)
    t.match(stored, { results: json.results, stored: true })

    const search = ['audit', 'search', ...here]
    const byValue = await runCommand(t, [...search, '--field', 'ip', '--value-from-stdin'], {}, values[1])
    t.match(byValue, {
      code: 0,
      stderr: '',
      stdout: /^sequence +at +subject +type +purpose +decision +requested +granted\n-/,
    })
    t.equal(byValue.stdout.match(/dev-investigator +detokenize +test_case +permitted +3 +3$/gm)?.length, 1)
    const byToken = await runInProcess([...search, '--token', tokens[1]!, '--limit', '2', '--json'])
    const page = JSON.parse(byToken.stdout)
    t.match(page.events, [{ type: 'audit_search', subject: 'dev-auditor' }, {}])
    const older = await runInProcess([...search, '--token', tokens[1]!, '--before', String(page.next), '--json'])
    t.ok(JSON.parse(older.stdout).events.every(({ sequence }: { sequence: number }) => sequence < page.next))
    const unseen = await runCommand(t, [...search, '--field', 'ip', '--value-from-stdin'], {}, '203.0.113.250\n')
    t.match(unseen, { code: 0, stdout: 'no event is found\n' })

    const reconciled = await runInProcess(['reconcile', '--data-dir', dataDir])
    t.match(reconciled, { code: 0, stderr: '', stdout: /\nconsistent\n$/ })
    const jwt = await runInProcess([
      'jwt',
      '--role',
      'operator',
      '--role',
      'auditor',
      '--sub',
      'a',
      '--data-dir',
      dataDir,
    ])
    t.match(jwt, { code: 0, stdout: /^eyJ/ })
  },
)

t.test('without a value, or with what is not UTF-8, nothing is asked and nothing repeated', async t => {
  const tokenize = ['tokenize', 'ip', '--purpose', 'test_case', '--url', 'http://127.0.0.1:1']
  t.match(await runCommand(t, tokenize), { code: 2, stderr: /^tokenvault: usage: standard input holds no value/ })
  const latin = await runCommand(t, tokenize, {}, Buffer.from('m\u00fcller', 'latin1'))
  t.match(latin, { code: 2, stderr: /^tokenvault: usage: standard input is not UTF-8/ })
  const search = [
    'audit',
    'search',
    '--purpose',
    'test_case',
    '--field',
    'ip',
    '--url',
    'http://127.0.0.1:1',
    '--value-from-stdin',
  ]
  const several = await runCommand(t, search, {}, 'secret-1\nsecret-2\n')
  t.match(several, { code: 2, stdout: '', stderr: /^tokenvault: usage: standard input holds several values/ })
  t.notMatch(several.stderr, /secret/)
})

t.test('values without end are asked for in batches, and each is printed before the next is read', async t => {
  const asked: { purpose: string; store?: boolean; values: { field: string; value: string }[] }[] = []
  const server = createServer(async (request, reply) => {
    const body = (await json(request)) as (typeof asked)[number]
    asked.push(body)
    reply.end(JSON.stringify({ results: body.values.map(({ field, value }) => ({ field, token: `t${value}` })) }))
  }).listen(0, '127.0.0.1')
  t.teardown(() => server.close())
  await once(server, 'listening')
  const jwtFile = join(temporaryDirectory(t), 'jwt')
  writeFileSync(jwtFile, 'x')
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const args = ['tokenize', 'ip', '--purpose', 'test_case', '--url', url, '--jwt-file', jwtFile]
  const command = startCommand(t, [...args, '--store'], {}, null)
  const { stdin } = command.process
  stdin!.write(Array.from({ length: 10_001 }, (_, n) => `${n}\n`).join(''))
  await command.printed(/^t9999$/m)
  t.strictSame(
    asked.map(({ values, store }) => [values.length, store]),
    [[10_000, true]],
  )
  stdin!.end(Array.from({ length: 9_999 }, (_, n) => `${n + 10_001}`).join('\r\n'))
  t.equal((await command.ended).code, 0)
  t.equal(command.stdout(), Array.from({ length: 20_000 }, (_, n) => `t${n}\n`).join(''), 'all of them, in order')
  t.strictSame(
    asked.map(({ values }) => values.length),
    [10_000, 10_000],
  )
  const long = await runCommand(t, args, {}, 'y'.repeat(1_100_000))
  t.match(long, { code: 2, stderr: /^tokenvault: usage: a line of standard input is no value/ })
  t.equal(asked.length, 2)
})
