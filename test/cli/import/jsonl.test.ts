import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { findJsonError } from '../../../src/cli/import/json-error.ts'
import { openJsonl } from '../../../src/cli/import/jsonl.ts'
import { readCells, rewriteWith } from '../../helpers/cli/column-file.ts'
import { checkProperty } from '../../helpers/crypto/property.ts'
import { temporaryDirectory } from '../../helpers/embedded/embedded-directory.ts'

function jsonl(t: Test, content: string | Uint8Array, column = 'ip') {
  const path = join(temporaryDirectory(t), 'a.jsonl')
  writeFileSync(path, content)
  return openJsonl(path, column)
}

t.test('the member is replaced where it stands: numbers, order, escapes and white space of the rest stay', async t => {
  const lines = [
    '\ufeff{ "big": 123456789012345678901.50 ,"ip" :"203.0.113.1", "n": [{"ip":"x"}, 1e400] }\r\n',
    '{"\\u0069p":"a\\"}b","z":1,"a":"\\u00e9\u2028"}\n',
    '\n',
    '{"ip":null}\n',
    '{"other":{"ip":"203.0.113.2"}}\n',
    '  {"ip":""}\n',
    '{"x":"}","ip":"203.0.113.3"}',
  ]
  const file = jsonl(t, lines.join(''))
  t.equal(await file.check(), 6)
  t.strictSame(await readCells(file), [
    { text: '203.0.113.1', place: 1 },
    { text: 'a"}b', place: 2 },
    { text: undefined, place: 4 },
    { text: undefined, place: 5 },
    { text: undefined, place: 6 },
    { text: '203.0.113.3', place: 7 },
  ])
  const result = await rewriteWith(file, ['T1', 'T2', undefined, undefined, undefined, null])
  t.equal(
    result,
    lines.join('').replace('"203.0.113.1"', '"T1"').replace('"a\\"}b"', '"T2"').replace('"203.0.113.3"', 'null'),
  )
  t.equal(await file.compareRest(jsonl(t, result)), undefined)
})

t.test('what is broken is refused with line and column, and never quoted', async t => {
  const cases: readonly [string, string | Uint8Array, RegExp][] = [
    ['no JSON', '{"ip":"1"}\n{"ip":secret}\n', /^line 2, column 7: not JSON$/],
    ['an end that is missing', '{"ip":"secret"', /^line 1, column 15: not JSON$/],
    ['an open string', '{"ip":"secret\n', /^line 1, column 7: not JSON$/],
    ['two objects on a line', '{"ip":"é"}{"ip":"secret"}\n', /^line 1, column 11: not JSON$/],
    ['an array', '["secret"]\n', /^line 1, column 1: not a JSON object$/],
    ['a word', '"secret"\n', /^line 1, column 1: not a JSON object$/],
    ['a number', '{"ip":"1"}\n\n{"ip":1}\n', /^line 3: the member of --column is a number; only strings and null/],
    ['an object', '{"ip":{"secret":1}}\n', /is an object; only/],
    ['an array', '{"ip":["secret"]}\n', /is an array; only/],
    ['the member twice', '{"ip":"1","\\u0069p":"secret"}\n', /^line 1 has the member of --column twice$/],
    ['no such member', '{"secret":"1"}\n', /^no line has the member of --column$/],
    ['nothing', '', /^the file holds no line$/],
    ['blank lines', '\n \n', /^the file holds no line$/],
    ['Latin-1', Buffer.from('{"ip":"1"}\n{"ip":"m\u00fcller"}\n', 'latin1'), /^line 2 is not UTF-8$/],
  ]
  for (const [title, content, message] of cases) {
    await t.rejects(jsonl(t, content).check(), { code: 'import_file_invalid', message }, title)
    const told = await jsonl(t, content).check().catch(String)
    t.notMatch(told, 'secret')
  }
})

t.test('names that objects have by themselves are members like others', async t => {
  for (const name of ['__proto__', 'constructor', 'toString']) {
    const file = jsonl(t, `{"a":1,"${name}":"203.0.113.1"}\n{"a":2}\n`, name)
    t.equal(await file.check(), 2)
    t.equal(await rewriteWith(file, ['T', undefined]), `{"a":1,"${name}":"T"}\n{"a":2}\n`)
  }
})

t.test('any objects: JSON.parse sees the tokens and nothing else changed', async t => {
  const object = fc.dictionary(fc.oneof(fc.constantFrom('ip', 'x'), fc.string()), fc.jsonValue({ maxDepth: 3 }), {
    noNullPrototype: true,
  })
  const member = fc.record({ ip: fc.oneof(fc.string({ minLength: 1 }), fc.constant('a"}]\\')) })
  const property = fc.asyncProperty(fc.array(fc.tuple(object, member, object), { minLength: 1 }), async parts => {
    const rows = parts.map(([before, { ip }, after]) => {
      const { ip: _, ...rest } = { ...before, ...after }
      const entries = Object.entries(rest)
      return Object.fromEntries([
        ...entries.slice(0, entries.length / 2),
        ['ip', ip],
        ...entries.slice(entries.length / 2),
      ])
    })
    const file = jsonl(t, rows.map(row => JSON.stringify(row)).join('\n'))
    assert.deepEqual(
      (await readCells(file)).map(({ text }) => text),
      rows.map(row => row['ip']),
    )
    const tokens = rows.map((_, n) => `T${n}`)
    const result = await rewriteWith(file, tokens)
    const expected = rows.map((row, n) => JSON.stringify({ ...row, ip: tokens[n] }))
    assert.equal(result, expected.join('\n'))
    const found: string[] = []
    for await (const cells of jsonl(t, result).everyCell()) found.push(...cells.map(({ text }) => text))
    for (const token of tokens) assert.ok(found.includes(token))
  })
  await checkProperty(t, 'read and rewritten', property, 60)
})

t.test('the proof sees every name and value, also of members that another one of the same name hides', async t => {
  const lines = [
    '{"ip":"T","other":"203.0.113.1","other":"x","n":{"m":[1.50,"a\\\\"],"m":[true,null]}}\r\n',
    '\n{ "a\\"b" : "c\\\\\\"d" ,"e":"","203.0.113.2":-1e5}',
  ]
  const found: string[] = []
  for await (const cells of jsonl(t, lines.join('')).everyCell())
    found.push(...cells.map(({ text, row, column }) => `${row} ${column}: ${text}`))
  t.strictSame(found, [
    ...['1 a name: ip', '1 ip: T', '1 a name: other', '1 other: 203.0.113.1', '1 a name: other', '1 other: x'],
    ...['1 a name: n', '1 a name: m', '1 m: 1.50', '1 m: a\\', '1 a name: m', '1 m: true'],
    ...['2 a name: a"b', '2 a"b: c\\"d', '2 a name: e', '2 e: ', '2 a name: 203.0.113.2', '2 203.0.113.2: -1e5'],
  ])
})

t.test('the place where a text stops to be JSON is never behind the first character that is wrong', async t => {
  const property = fc.property(
    fc.json(),
    fc.nat(),
    fc.constantFrom('\u0001', '}', ']', '"', '\\', 'x', ','),
    (text, at, bad) => {
      const index = at % (text.length + 1)
      const broken = text.slice(0, index) + bad + text.slice(index)
      try {
        JSON.parse(broken)
        return
      } catch {}
      const found = findJsonError(broken)
      assert.ok(found <= broken.length)
      // A string that is broken is told from its beginning.
      const start = broken.slice(0, found)
      assert.ok(found === broken.length || isPrefix(start), `${JSON.stringify(broken)}: ${found}`)
    },
  )
  await checkProperty(t, 'broken anywhere', property, 500)
})

/** Whether some text makes JSON of it. */
function isPrefix(start: string): boolean {
  return findJsonError(start) === start.length
}
