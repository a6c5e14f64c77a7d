import { existsSync, linkSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { startCommand } from '../../helpers/cli/cli.ts'
import { runInProcess } from '../../helpers/cli/cli-in-process.ts'
import { fakeToken, refuse, startTokenizeServer, type TokenizeCall } from '../../helpers/cli/tokenize-server.ts'
import { temporaryDirectory } from '../../helpers/embedded/embedded-directory.ts'

/** A folder with an input, and the command that imports its column `ip`. */
async function setUp(
  t: Test,
  name: string,
  text: string | Uint8Array,
  answer?: Parameters<typeof startTokenizeServer>[1],
) {
  const folder = temporaryDirectory(t)
  const input = join(folder, name)
  const out = join(folder, `out-${name}`)
  writeFileSync(input, text)
  const server = await startTokenizeServer(t, answer)
  const args = ['import', input, '--field', 'ip', '--column', 'ip', ...server.args]
  return { ...server, folder, input, out, args, run: (...more: string[]) => runInProcess([...args, ...more]) }
}

t.test('a CSV keeps every byte but the cells of the column', async t => {
  const csv = [
    '\ufeffid,"ip",note\r\n',
    '1,203.0.113.1,"a ""b"", c"\r\n',
    '2,"203.0.113.2",line\n',
    '3,,"two\r\nlines"\r\n',
    '4,unknown,é\r\n',
    `5,${fakeToken('203.0.113.5')},"x"\r\n`,
    '6,203.0.113.1,',
  ]
  const { run, out, folder, calls } = await setUp(t, 'a.csv', csv.join(''))
  const { code, stdout, stderr } = await run('--out', out, '--verify')
  t.strictSame({ code, stderr }, { code: 0, stderr: '' })
  const one = fakeToken('203.0.113.1')
  const expected = [
    '\ufeffid,"ip",note\r\n',
    `1,${one},"a ""b"", c"\r\n`,
    `2,"${fakeToken('203.0.113.2')}",line\n`,
    '3,,"two\r\nlines"\r\n',
    '4,,é\r\n',
    csv[5],
    `6,${one},`,
  ]
  t.equal(readFileSync(out, 'utf8'), expected.join(''))
  t.equal(
    stdout,
    `stored 3 of 6 rows; 1 empty, 1 placeholder, 1 token already\nwritten ${out}\n` +
      'proven for 6 rows: 4 tokens, 2 empty cells, and no value of the column\n',
  )
  t.equal(statSync(out).mode & 0o777, 0o600)
  t.strictSame(readdirSync(folder).sort(), ['a.csv', 'out-a.csv'], 'nothing else stays')
  t.match(calls, [{ purpose: 'test_case', store: true }])
  t.equal(calls[0]!.values.length, 4, 'equal values are sent once')
})

/** A CSV of n different addresses. */
function addresses(n: number): string {
  return `id,ip\n${Array.from({ length: n }, (_, row) => `${row},10.0.0.${row}\n`).join('')}`
}

const withTokens = (csv: string) => csv.replace(/10\.0\.0\.\d+/g, value => fakeToken(value))

t.test(
  'killed at every batch boundary, it goes on: no value is lost or stands twice, and the bytes are the same',
  async t => {
    const csv = addresses(11)
    let kill: ((reply: () => void) => void) | undefined
    const isOfVault = (values: TokenizeCall['values']) => values.length === 1 && values[0]!.value === '10.0.0.0'
    const { args, input, out, folder, calls } = await setUp(t, 'a.csv', csv, (reply, { values }) => {
      const answer = () => {
        reply.end(
          JSON.stringify({
            results: values.map(({ value }) => ({ field: 'ip', token: fakeToken(value) })),
            stored: true,
          }),
        )
      }
      // A run that goes on asks for the first token once more, to know the vault.
      if (isOfVault(values)) answer()
      else kill?.(answer)
      return kill !== undefined || isOfVault(values)
    })
    // Six batches. Each run is killed at its second call: before it is answered, or right after.
    for (const isAnswered of [false, true, false, true, true, false]) {
      let call = 0
      const command = startCommand(t, [...args, '--out', out, '--batch', '2'])
      kill = answer => {
        call++
        if (call === 1 || isAnswered) answer()
        if (call === 2) command.process.kill('SIGKILL')
      }
      await command.ended
      if (existsSync(out)) break
      t.strictSame(readdirSync(folder).sort(), ['a.csv', 'out-a.csv.import'])
      const held = readdirSync(`${out}.import`).map(name => readFileSync(join(`${out}.import`, name), 'utf8'))
      t.notMatch(held.join(''), /10\.0\.0|a\.csv/, 'no value and no name of the input')
      t.equal(statSync(`${out}.import`).mode & 0o777, 0o700)
    }
    kill = undefined
    const { code } = existsSync(out) ? { code: 0 } : await runInProcess([...args, '--out', out, '--batch', '2'])
    t.equal(code, 0)
    t.equal(readFileSync(out, 'utf8'), withTokens(csv))
    t.strictSame(readdirSync(folder).sort(), ['a.csv', 'out-a.csv'])
    const stored = calls.flatMap(({ values }) => (isOfVault(values) ? [] : values.map(({ value }) => value)))
    t.equal(new Set(stored).size, 11)
    t.ok(stored.length <= 11 + 2 * 6, 'only batches that were cut off are sent again')
    t.equal(readFileSync(input, 'utf8'), csv, 'the input stays')
  },
)

/** Stops after its second batch, with the progress of two or more. */
const stopAtThird = (reply: Parameters<typeof refuse>[0], _: TokenizeCall, number: number) =>
  number === 3 && refuse(reply, 403, 'principal_suspended')

t.test('progress that was cut off anywhere gives the same result', async t => {
  const csv = addresses(6).replace('10.0.0.3', 'unknown')
  const { run, out } = await setUp(t, 'a.csv', csv, stopAtThird)
  t.match(await run('--out', out, '--batch', '2'), { code: 1, stderr: /principal_suspended/ })
  const path = join(`${out}.import`, 'progress')
  const whole = readFileSync(path)
  const lines = [...whole.toString('latin1').matchAll(/\n/g)].map(({ index }) => index)
  // In the header, before and behind the line break of a batch, in a token, in the counts, and nothing at all.
  const cuts = [0, lines[0]! - 5, lines[0]!, lines[2]! - 5, lines[3]! - 5, lines[3]!, lines[3]! + 1, lines.at(-1)! - 1]
  for (const cut of cuts) {
    mkdirSync(`${out}.import`, { recursive: true, mode: 0o700 })
    writeFileSync(path, whole.subarray(0, cut), { mode: 0o600 })
    // As a process leaves it that is killed while it writes the result.
    writeFileSync(join(`${out}.import`, 'result'), 'id,ip\n0,ip_v1')
    t.match(await run('--out', out, '--batch', '2'), { code: 0, stderr: '' })
    t.equal(readFileSync(out, 'utf8'), withTokens(csv).replace('unknown', ''), `cut at ${cut}`)
    rmSync(out)
  }
})

t.test('what stopped it is said with what to do next; the next run goes on', async t => {
  const { run, out, calls, input, args } = await setUp(t, 'a.csv', addresses(6), stopAtThird)
  const stopped = await run('--out', out, '--batch', '2')
  t.match(stopped, {
    code: 1,
    stdout: '',
    stderr:
      /^tokenvault: 4 of 6 rows are done; run the same command again to continue\ntokenvault: api_refused: 403 .*Do what/,
  })
  t.notOk(existsSync(out))
  t.match(await run('--out', out, '--batch', '2', '--field', 'device_id'), {
    code: 2,
    stderr: /^tokenvault: .*\n?.*import_changed: the import that is to be continued is of another field or column/,
  })
  writeFileSync(input, addresses(6).replace('10.0.0.5', '10.0.0.6'))
  const changed = await run('--out', out, '--batch', '2')
  t.match(changed, { code: 2, stderr: /import_changed: the input was changed since the import began.* --restart/ })
  t.equal(calls.length, 3)
  const anew = await runInProcess([...args, '--out', out, '--restart', '--json'])
  t.match(JSON.parse(anew.stdout), {
    rows: 6,
    out,
    counts: { tokenized: 6, empty: 0, placeholders: 0, alreadyTokens: 0, invalid: 0 },
  })
  t.match(readFileSync(out, 'utf8'), fakeToken('10.0.0.6'))
  t.match(await run('--out', out), { code: 2, stderr: /usage: --out is there already; --verify checks it/ })
  t.equal(calls.length, 4)
})

t.test('an API that is away, busy or out of a budget of a minute is waited for, and no longer than said', async t => {
  const busy = await setUp(t, 'a.csv', addresses(3), (reply, _, number) => {
    if (number === 1) return refuse(reply, 503, 'overloaded', { 'retry-after': '0' })
    if (number === 2) return refuse(reply, 429, 'budget_exceeded', { 'retry-after': '1' })
    if (number > 3) return false
    reply.destroy()
    return true
  })
  const { code, stderr } = await busy.run('--out', busy.out)
  t.equal(code, 0)
  t.match(stderr, /^tokenvault: 503 overloaded: .*; trying again for up to 300 seconds\n$/, 'said once')
  t.equal(busy.calls.length, 4)
  const away = await setUp(t, 'a.csv', addresses(3))
  away.server.close()
  const patience = await away.run('--out', away.out, '--retry-for', '0')
  t.match(patience, {
    code: 1,
    stderr: /^tokenvault: import_interrupted: no answer from .*; tried for 0 seconds. Run the same command/,
  })
  t.strictSame(readdirSync(away.folder), ['a.csv'], 'where nothing was stored, nothing stays')
  const long = await setUp(t, 'a.csv', addresses(3), reply =>
    refuse(reply, 429, 'rate_limited', { 'retry-after': '3600' }),
  )
  t.match(await long.run(), { code: 1, stderr: /import_interrupted: 429 rate_limited/ })
})

t.test('an invalid value refuses the result by its line; --on-invalid null leaves its cell empty', async t => {
  const csv = `id,ip\n1,10.0.0.1\n2,bad-secret\n3,device_id_v1_AAAAAAAAAAAAAAAAAAAAAA\n4,${'x'.repeat(20_000)}\n5,10.0.0.5\n`
  const { run, out, calls } = await setUp(t, 'a.csv', csv)
  const refused = await run('--out', out)
  t.match(refused, {
    code: 1,
    stdout: '',
    stderr:
      /values of the column were refused in line 3 \(value_invalid\), 4 \(value_is_token\), 5 \(value_too_long\)\. Correct/,
  })
  t.notMatch(refused.stderr, /secret|xxx|device_id_v1/)
  t.notOk(existsSync(out))
  const emptied = await run('--out', out, '--on-invalid', 'null', '--verify')
  t.match(emptied, { code: 0, stdout: /^stored 2 of 5 rows; 3 invalid and left empty\n/ })
  t.equal(readFileSync(out, 'utf8'), `id,ip\n1,${fakeToken('10.0.0.1')}\n2,\n3,\n4,\n5,${fakeToken('10.0.0.5')}\n`)
  t.equal(calls.length, 1, 'nothing is stored twice')
  const wrong = `ip\n${'bad\n'.repeat(1000)}`
  const column = await setUp(t, 'b.csv', wrong)
  t.match(await column.run('--batch', '100'), { code: 1, stderr: /line 2 .*, and 80 others\. / })
  t.equal(column.calls.length, 1, 'it stops where the column is another one')
})

t.test('what can be known beforehand is refused with exit code 2, and nothing is stored or written', async t => {
  const { args, input, out, folder, calls } = await setUp(t, 'a.csv', 'ip,b\n10.0.0.1,2\n"10.0.0.2,3\n')
  const other = (name: string, text = addresses(1)) => {
    writeFileSync(join(folder, name), text)
    return join(folder, name)
  }
  const as = (path: string, ...more: string[]) => ['import', path, ...args.slice(2), ...more]
  linkSync(input, join(folder, 'link.csv'))
  mkdirSync(join(folder, 'd.csv'))
  const good = other('good.csv')
  const cases: readonly [string, string[], RegExp][] = [
    ['broken quoting', args, /import_file_invalid: line 3, column 1: a quotation mark is never closed\. /],
    ['broken JSON', as(other('a.jsonl', '{"ip":"1"}\n{"ip":\n')), /line 2, column 7: not JSON/],
    ['no Parquet', as(other('a.parquet')), /does not begin and end as Parquet files do/],
    ['a column that is missing', as(good, '--column', 'secret'), /line 1 names 2 columns and not the one of --column/],
    ['an empty file', as(other('empty.csv', '')), /the file is empty/],
    [
      'an unknown name',
      as(other('a.txt')),
      /usage: the name of the file says no format; give --format csv, jsonl, parquet/,
    ],
    ['a directory', as(join(folder, 'd.csv')), /the file is not a regular file/],
    ['no file', as(join(folder, 'nowhere.csv')), /the file does not exist \(ENOENT\)/],
    ['the input as result', as(input, '--out', input), /usage: --out is the input itself/],
    ['another name of the input', as(input, '--out', join(folder, 'link.csv')), /usage: --out is the input itself/],
    ['a result in no folder', as(good, '--out', join(folder, 'no', 'x')), /usage: the folder of --out does not exist/],
    ['a folder as result', as(good, '--out', join(folder, 'd.csv')), /usage: --out is not a regular file/],
    ['--verify of nothing', as(good, '--verify'), /usage: --verify is about the file of --out/],
    ['a delimiter for JSONL', as(other('b.jsonl'), '--delimiter', ';'), /usage: --delimiter is for CSV files/],
    ['a letter as delimiter', as(good, '--delimiter', 'x'), /argument 'x' is invalid/],
  ]
  const before = readdirSync(folder).sort()
  for (const [title, command, message] of cases) {
    const { code, stdout, stderr } = await runInProcess([
      ...command,
      ...(command.includes('--out') ? [] : ['--verify', '--out', out].slice(command.includes('--verify') ? 3 : 1)),
    ])
    t.match({ code, stdout, stderr }, { code: 2, stdout: '', stderr: message }, title)
    t.notMatch(stderr, /10\.0\.0|secret/)
  }
  t.strictSame(readdirSync(folder).sort(), [...before, 'a.jsonl', 'a.parquet'].slice(0, before.length).sort())
  t.equal(calls.length, 0)
})

t.test(
  'an unknown field, or a caller who may not store it, is refused with exit code 2 and leaves nothing',
  async t => {
    const answers = {
      field_unknown: (reply: Parameters<typeof refuse>[0], { values }: TokenizeCall) => {
        const error = { code: 'field_unknown' }
        reply.end(JSON.stringify({ results: values.map(() => ({ field: 'x', error })), stored: true }))
        return true
      },
      role_not_permitted: (reply: Parameters<typeof refuse>[0]) => refuse(reply, 403, 'role_not_permitted'),
      storing_off: (reply: Parameters<typeof refuse>[0]) => refuse(reply, 501, 'storing_off'),
    }
    for (const [code, answer] of Object.entries(answers)) {
      const { run, out, folder } = await setUp(t, 'a.csv', addresses(3), answer)
      t.match(await run('--out', out), {
        code: 2,
        stdout: '',
        stderr: new RegExp(`^tokenvault: import_refused: .*${code}`),
      })
      t.strictSame(readdirSync(folder), ['a.csv'])
    }
    const looked = (reply: Parameters<typeof refuse>[0], { values }: TokenizeCall) => {
      reply.end(JSON.stringify({ results: values.map(({ value }) => ({ token: fakeToken(value) })), stored: false }))
      return true
    }
    const { run, out } = await setUp(t, 'a.csv', addresses(3), looked)
    t.match(await run('--out', out), { code: 1, stderr: /the API did not say that it stored the values/ })
    const echo = (reply: Parameters<typeof refuse>[0], { values }: TokenizeCall) => {
      reply.end(JSON.stringify({ results: values.map(({ value }) => ({ token: value })), stored: true }))
      return true
    }
    const echoed = await setUp(t, 'a.csv', 'ip\nlong-enough-for-a-token\n', echo)
    t.match(await echoed.run('--out', echoed.out), {
      code: 1,
      stderr: /the API answered something that is not a token/,
    })
    t.notOk(existsSync(echoed.out))
  },
)

t.test('a second import of the same result is refused by name while the first is at work', async t => {
  let second: Awaited<ReturnType<typeof runInProcess>> | undefined
  let rerun: (() => Promise<{ code: number | null; stderr: string }>) | undefined
  const { args, out, calls } = await setUp(t, 'a.csv', addresses(3), async (_, __, number) => {
    if (number === 1) second = (await rerun!()) as typeof second
    return false
  })
  rerun = async () => {
    const command = startCommand(t, [...args, '--out', out])
    const { code } = await command.ended
    return { code, stderr: command.stderr() }
  }
  const first = startCommand(t, [...args, '--out', out])
  t.equal((await first.ended).code, 0)
  t.match(second, {
    code: 2,
    stderr: /^tokenvault: import_running: another import is at work in .*out-a\.csv\.import\. Wait/,
  })
  t.equal(calls.length, 1)
})

t.test('without --out the column is stored and nothing is written; a JSONL is handled as a CSV is', async t => {
  const { run, folder, calls } = await setUp(t, 'a.csv', addresses(5))
  t.match(await run('--batch', '2'), { code: 0, stdout: 'stored 5 of 5 rows\n' })
  t.strictSame(readdirSync(folder), ['a.csv'])
  t.equal(calls.length, 3)
  const lines = '{"ip":"10.0.0.1","n":1.0}\n{"n":2}\n{"ip":null}\n{"ip":"unknown"}\n'
  const jsonl = await setUp(t, 'a.txt', lines)
  t.match(await jsonl.run('--format', 'jsonl', '--out', jsonl.out, '--verify'), { code: 0 })
  t.equal(
    readFileSync(jsonl.out, 'utf8'),
    lines.replace('10.0.0.1', fakeToken('10.0.0.1')).replace('"unknown"', 'null'),
  )
  const none = await setUp(t, 'a.csv', 'ip,b\n')
  t.match(await none.run('--out', none.out, '--verify'), { code: 0, stdout: /^stored 0 of 0 rows/ })
  t.equal(readFileSync(none.out, 'utf8'), 'ip,b\n')
  t.equal(none.calls.length, 0)
})

t.test('a result that was there is proven or not, and nothing is stored again', async t => {
  const csv = 'id,ip,note\n1,10.0.0.1,x\n2,10.0.0.2,y\n3,,z\n'
  const { run, out, calls } = await setUp(t, 'a.csv', csv)
  const good = withTokens(csv)
  const token = fakeToken('10.0.0.1')
  const cases: readonly [string, RegExp][] = [
    [good.replace(/1,.*,x/, '1,10.0.0.1,x'), /line 2: the column holds something that is not a token of the field/],
    [good.replace(/,z$/m, ', 10.0.0.2'), /row 3: a value of the column stands in "note"\n/],
    [good.replace('3,,', `3,${token},`), /line 4: the column holds something where the input holds nothing/],
    [good.replace(token, token.replace('ip_', 'device_id_')), /line 2: the column holds something that is not a token/],
    [good.replace(/,x$/m, ',X'), /row 2 differs outside of the column/],
    [good.replace('3,,z\n', ''), /the result has fewer rows/],
    [`${good}4,,q\n`, /the result has more rows/],
    [csv, /line 2: .*\n.*line 3: /],
  ]
  for (const [result, problem] of cases) {
    writeFileSync(out, result)
    const { code, stdout, stderr } = await run('--out', out, '--verify')
    t.match({ code, stdout, stderr }, { code: 1, stdout: '', stderr: problem })
    t.match(stderr, /import_unproven: \d places? (is|are) not as they must be/)
    t.notMatch(stderr, /10\.0\.0/)
    t.equal(readFileSync(out, 'utf8'), result, 'it stays as it was')
  }
  writeFileSync(out, good)
  const proven = await run('--out', out, '--verify', '--json')
  t.strictSame(JSON.parse(proven.stdout), {
    ...{ rows: 3, out },
    verification: { rows: 3, tokens: 2, empty: 1, problems: [], problemCount: 0 },
  })
  t.equal(calls.length, 0)
})

t.test('with --verify a result that holds a value in another column does not get its name', async t => {
  const { run, out } = await setUp(t, 'a.csv', 'ip,other\n10.0.0.1,x\n10.0.0.2,10.0.0.1\n')
  t.match(await run('--out', out, '--verify'), { code: 1, stderr: /row 2: a value of the column stands in "other"/ })
  t.notOk(existsSync(out))
  t.match(await run('--out', out), { code: 0 }, 'without --verify it does: what is done is not done again')
})

t.test('with --verify a value is found in a member that another one of the same name hides', async t => {
  const { run, out } = await setUp(t, 'a.jsonl', '{"ip":"10.0.0.1","other":"10.0.0.1","other":"x"}\n')
  t.match(await run('--out', out, '--verify'), { code: 1, stderr: /row 1: a value of the column stands in "other"/ })
  t.notOk(existsSync(out))
})

t.test('values that take many bytes as JSON come in calls that the API takes', async t => {
  const lines = Array.from({ length: 60 }, (_, n) => `${JSON.stringify({ ip: '\u0001'.repeat(15_000) + n })}\n`)
  const { run, calls } = await setUp(t, 'a.jsonl', lines.join(''))
  t.match(await run(), { code: 0 })
  for (const call of calls) t.ok(Buffer.byteLength(JSON.stringify(call)) < 4 * 1024 * 1024, 'the API takes 4 MiB')
})

t.test('another vault does not go on with what one has begun', async t => {
  const stopsAt2 = await setUp(
    t,
    'a.csv',
    addresses(4),
    (reply, _, n) => n === 2 && refuse(reply, 403, 'role_not_permitted'),
  )
  const { args, input, out } = stopsAt2
  t.match(await stopsAt2.run('--out', out, '--batch', '2'), { code: 1, stderr: /2 of 4 rows are done/ })
  const other = await startTokenizeServer(t, (reply, { values }) => {
    const results = values.map(({ field, value }) => ({ field, token: fakeToken(`other ${value}`) }))
    reply.end(JSON.stringify({ results, stored: true }))
    return true
  })
  const elsewhere = ['import', input, '--field', 'ip', '--column', 'ip', ...other.args, '--out', out]
  t.match(await runInProcess(elsewhere), { code: 2, stderr: /import_changed: .*another vault/ })
  t.strictSame(
    other.calls.map(({ values }) => values.length),
    [1],
    'it has one value of it, and no more',
  )
  t.notOk(existsSync(out))
  t.match(await runInProcess([...args, '--out', out]), { code: 0 })
  t.equal(readFileSync(out, 'utf8'), withTokens(addresses(4)))
})
