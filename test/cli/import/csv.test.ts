import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { openCsv } from '../../../src/cli/import/csv.ts'
import { longestRowBytes } from '../../../src/cli/import/text-file.ts'
import { readCells, rewriteWith } from '../../helpers/cli/column-file.ts'
import { checkProperty } from '../../helpers/crypto/property.ts'
import { temporaryDirectory } from '../../helpers/embedded/embedded-directory.ts'

function csv(t: Test, content: string | Uint8Array, { column = 'ip', delimiter = ',' } = {}) {
  const path = join(temporaryDirectory(t), 'a.csv')
  writeFileSync(path, content)
  return openCsv(path, column, delimiter)
}

t.test('cells are found with their lines, whatever stands around them', async t => {
  const file = csv(t, 'a,ip\r\n"x\r\ny",1\n,"2 ""q"""\r\nz,')
  t.equal(await file.check(), 3)
  t.strictSame(await readCells(file), [
    { text: '1', place: 2 },
    { text: '2 "q"', place: 4 },
    { text: undefined, place: 5 },
  ])
  t.strictSame(await readCells(file, 2), [{ text: undefined, place: 5 }], 'the first two left out')
})

t.test('what is broken is refused with line and column, and never quoted', async t => {
  const cases: readonly [string, string | Uint8Array, RegExp][] = [
    ['an open quote', 'ip,b\n1,"secret\nx', /^line 2, column 3: a quotation mark is never closed$/],
    ['text behind a quote', 'ip,b\n1,2\n"secret"x,1\n', /^line 3, column 9: something stands behind/],
    ['a quote inside', 'ip,b\né1,sec"ret\n', /^line 2, column 7: a quotation mark stands inside/],
    ['after lines in a cell', 'ip,b\n"1\n2\n3",sec"ret', /^line 4, column 7: /],
    ['too few cells', 'ip,b\n1,2\nsecret\n', /^line 3 has 1 cell where the header has 2$/],
    ['too many cells', 'ip,b\n1,2,secret\n', /^line 2 has 3 cells where the header has 2$/],
    ['a blank line', 'ip,b\n1,2\n\n', /^line 3 has 1 cell where the header has 2$/],
    ['a carriage return alone', 'ip,b\r1,2\r', /^line 1, column 5: a carriage return stands alone/],
    ['no such column', 'secret,b\n', /^line 1 names 2 columns and not the one of --column$/],
    ['another case', 'IP ,b\n', /^line 1 names 2 columns .*; one differs in case or white space only$/],
    ['the name twice', 'ip,b,ip\n1,2,3\n', /^line 1 names the column twice$/],
    ['nothing', '', /^the file is empty/],
    ['Latin-1', Buffer.from('ip\n1\n2\nm\u00fcller\n', 'latin1'), /^line 4 is not UTF-8$/],
    ['UTF-16', Buffer.from('\ufeffip\n1\n', 'utf16le'), /not UTF-8|names 1 column/],
  ]
  for (const [title, content, message] of cases) {
    await t.rejects(csv(t, content).check(), { code: 'import_file_invalid', message }, title)
    const told = await csv(t, content).check().catch(String)
    t.notMatch(told, 'secret')
  }
  const endless = Buffer.alloc(longestRowBytes + 1024 * 1024, 'x')
  endless.write('ip\n"')
  await t.rejects(csv(t, endless).check(), { message: /^the row of line 2 is longer than/ })
})

t.test('a token is quoted where its cell was or where it must be, and a row never becomes a blank line', async t => {
  const tokens = ['a-b', 'c-d', null, null]
  const comma = await rewriteWith(csv(t, 'ip,b\n1,\n"2",\n3,\n"4",\n'), tokens)
  t.equal(comma, 'ip,b\na-b,\n"c-d",\n,\n"",\n')
  const hyphen = await rewriteWith(csv(t, 'ip-b\n1-\n"2"-\n3-\n"4"-\n', { delimiter: '-' }), tokens)
  t.equal(hyphen, 'ip-b\n"a-b"-\n"c-d"-\n-\n""-\n')
  t.equal(await rewriteWith(csv(t, 'ip\n1\n"2"\n3\n4'), tokens), 'ip\na-b\n"c-d"\n""\n""')
  t.equal(await rewriteWith(csv(t, 'ip\n1\n\n3\n'), ['a', undefined, 'b']), 'ip\na\n\nb\n', 'what is kept stays')
})

const cell = fc.oneof(
  fc.constantFrom('', 'é,"', 'a\r\nb', '"', '😀', '\u2028', `${'z'.repeat(300_000)}`),
  fc.string({ unit: 'grapheme', maxLength: 6 }).filter(text => !text.startsWith('\ufeff')),
)
const row = fc.tuple(cell, cell, cell)
const written = fc.array(fc.tuple(row, fc.constantFrom('\n', '\r\n'), fc.boolean()), { minLength: 1, maxLength: 6 })

t.test('csv-parse sees the same cells in any file, and nothing else of it changes', async t => {
  const property = fc.asyncProperty(written, async lines => {
    const write = (isQuoted: boolean) => (text: string) =>
      isQuoted || /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
    const content = lines.map(([row, end, isQuoted]) => row.map(write(isQuoted)).join(',') + end).join('')
    const file = csv(t, `a,ip,c\n${content}`)
    const rows = lines.map(([row]) => row)
    assert.equal(await file.check(), rows.length)
    assert.deepEqual(
      (await readCells(file)).map(({ text }) => text ?? ''),
      rows.map(row => row[1]),
    )
    assert.deepEqual(await readByOther(file), rows.flat())
    const tokens = rows.map((_, n) => `TOKEN${n}`)
    const changed = csv(t, await rewriteWith(file, tokens))
    assert.deepEqual(
      await readByOther(changed),
      rows.flatMap(([a, , c], n) => [a, tokens[n], c]),
    )
    assert.equal(await file.compareRest(changed), undefined)
  })
  await checkProperty(t, 'read and rewritten', property, 60)
})

t.test('a difference outside of the column is found, in any part of the file', async t => {
  const file = csv(t, 'a,ip\n1,2\n3,4\n')
  for (const [other, difference] of [
    ['a,ip\n1,9\n3,8\n', undefined],
    ['b,ip\n1,2\n3,4\n', 'row 1 differs outside of the column'],
    ['a,ip\n1,2\n5,4\n', 'row 2 differs outside of the column'],
    ['a,ip\n1,2\n3,4', 'row 3 differs outside of the column'],
    ['a,ip\n1,2\n', 'row 2 differs outside of the column'],
    ['a,ip\n1,2\n3,4\n3,4\n', 'row 3 differs outside of the column'],
  ] as const)
    t.equal(await file.compareRest(csv(t, other)), difference, JSON.stringify(other))
})

async function readByOther(file: ReturnType<typeof csv>): Promise<string[]> {
  const found: string[] = []
  for await (const cells of file.everyCell()) found.push(...cells.map(({ text }) => text))
  return found
}
