import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { runInProcess } from '../../helpers/cli/cli-in-process.ts'
import { fakeToken, startTokenizeServer } from '../../helpers/cli/tokenize-server.ts'
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
