import { createReadStream } from 'node:fs'
import { StringDecoder } from 'node:string_decoder'
import { type AnyCell, fileInvalid } from './column-file.ts'
import { findJsonError } from './json-error.ts'
import { createTextFile, type RowReader, type TextFormat, type TextRow } from './text-file.ts'

const lineFeed = 0x0a
const quote = 0x22
const backslash = 0x5c

/**
 * A file with one JSON object a line. Only the text of the member is replaced: numbers that JavaScript cannot hold, the order
 * of members and white space stay as they are.
 *
 * @param column a member of the outermost object
 */
export function openJsonl(path: string, column: string) {
  const format: TextFormat = {
    createReader: () => createJsonlReader(column),
    writeCell: token => JSON.stringify(token),
    everyCell: readByParse,
  }
  return createTextFile(path, format)
}

function createJsonlReader(column: string): RowReader {
  let line = 0
  let hasRow = false
  let hasColumn = false
  return {
    read(bytes, isLast) {
      const rows: TextRow[] = []
      let used = 0
      for (;;) {
        const end = bytes.indexOf(lineFeed, used)
        if (end === -1 && (!isLast || used === bytes.length)) return { rows, used }
        const from = used
        const to = end === -1 ? bytes.length : end
        used = end === -1 ? to : to + 1
        line++
        const start = line === 1 && bytes.toString('utf8', from, from + 3) === '\ufeff' ? from + 3 : from
        const text = bytes.toString('utf8', start, to)
        if (text.trim() === '') continue
        hasRow = true
        checkObject(text, line)
        const member = findMember(bytes, start, column, line)
        hasColumn ||= member !== undefined
        rows.push({ from, to: used, line, cellFrom: to, cellTo: to, text: undefined, ...member })
      }
    },
    end() {
      if (!hasRow) throw fileInvalid('the file holds no line')
      if (!hasColumn) throw fileInvalid('no line has the member of --column')
    },
  }
}

/** @throws TokenvaultError `import_file_invalid`, without what the parser says, which quotes the line */
function checkObject(text: string, line: number): void {
  let parsed: unknown
  try {
    parsed = JSON.parse(text)
  } catch {
    const place = [...text.slice(0, findJsonError(text))].length + 1
    throw fileInvalid(`line ${line}, column ${place}: not JSON`)
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed))
    throw fileInvalid(`line ${line}, column 1: not a JSON object`)
}

/** Where the member's value stands in a text that JSON.parse accepts as an object; undefined where there is no such member. */
function findMember(bytes: Buffer, start: number, column: string, line: number) {
  let found: Pick<TextRow, 'cellFrom' | 'cellTo' | 'text'> | undefined
  let at = bytes.indexOf(0x7b, start) + 1
  for (;;) {
    at = skipSpace(bytes, at)
    if (bytes[at] === 0x7d) return found
    if (bytes[at] === 0x2c) at = skipSpace(bytes, at + 1)
    const nameEnd = stringEnd(bytes, at)
    const isIt = JSON.parse(bytes.toString('utf8', at, nameEnd)) === column
    // Behind the colon.
    const cellFrom = skipSpace(bytes, skipSpace(bytes, nameEnd) + 1)
    at = valueEnd(bytes, cellFrom)
    if (!isIt) continue
    if (found !== undefined) throw fileInvalid(`line ${line} has the member of --column twice`)
    const value: unknown = JSON.parse(bytes.toString('utf8', cellFrom, at))
    if (typeof value !== 'string' && value !== null)
      throw fileInvalid(`line ${line}: the member of --column is ${kindOf(value)}; only strings and null are imported`)
    found = { cellFrom, cellTo: at, text: value === null || value === '' ? undefined : value }
  }
}

function kindOf(value: unknown): string {
  return Array.isArray(value) ? 'an array' : typeof value === 'object' ? 'an object' : `a ${typeof value}`
}

function skipSpace(bytes: Buffer, from: number): number {
  let at = from
  while (bytes[at] === 0x20 || bytes[at] === 0x09 || bytes[at] === 0x0d || bytes[at] === 0x0a) at++
  return at
}

/** @param from of the opening quotation mark @returns behind the closing one */
function stringEnd(bytes: Buffer, from: number): number {
  let at = from + 1
  while (bytes[at] !== quote) at += bytes[at] === backslash ? 2 : 1
  return at + 1
}

function valueEnd(bytes: Buffer, from: number): number {
  let at = from
  let depth = 0
  for (;;) {
    const byte = bytes[at]
    if (byte === quote) at = stringEnd(bytes, at)
    else if (byte === 0x7b || byte === 0x5b) {
      depth++
      at++
    } else if (byte === 0x7d || byte === 0x5d) {
      // The end of the object around a number or a word.
      if (depth === 0) return at
      depth--
      at++
    } else if (depth === 0 && (byte === 0x2c || byte === 0x20 || byte === 0x09 || byte === 0x0d || byte === 0x0a))
      return at
    else {
      at++
      continue
    }
    if (depth === 0) return at
  }
}

/**
 * Every name and every value that is not an array or object, at any depth; numbers as they are written. Found in the text:
 * what JSON.parse gives lacks all but the last of the members that have the same name.
 */
async function* readByParse(path: string): AsyncGenerator<readonly AnyCell[]> {
  let row = 0
  let cells: AnyCell[] = []
  for await (const line of readLines(path)) {
    const text = line.replace(/^\ufeff/, '')
    if (text.trim() === '') continue
    row++
    try {
      JSON.parse(text)
    } catch {
      throw fileInvalid(`row ${row} is not JSON`)
    }
    for (const { name, text: found } of scalarsOf(text))
      cells.push({ text: found, row, column: name === undefined ? 'a name' : name })
    if (cells.length < 10_000) continue
    yield cells
    cells = []
  }
  yield cells
}

/** @param text that JSON.parse accepts @returns names without, and values with the last name before them */
function* scalarsOf(text: string): Generator<{ readonly name?: string; readonly text: string }> {
  const opening = /"|[^\s{}[\],:"]+/g
  const colon = /\s*:/y
  let name = ''
  for (let found = opening.exec(text); found !== null; found = opening.exec(text)) {
    if (found[0] !== '"') {
      if (found[0] !== 'null') yield { name, text: found[0] }
      continue
    }
    const end = closingQuote(text, found.index) + 1
    const read: string = JSON.parse(text.slice(found.index, end))
    opening.lastIndex = end
    colon.lastIndex = end
    if (colon.test(text)) {
      name = read
      yield { text: read }
    } else yield { name, text: read }
  }
}

/** The first quotation mark behind the opening one that an even number of backslashes, or none, stands before. */
function closingQuote(text: string, opening: number): number {
  for (let at = text.indexOf('"', opening + 1); ; at = text.indexOf('"', at + 1)) {
    let first = at
    while (text[first - 1] === '\\') first--
    if ((at - first) % 2 === 0) return at
  }
}

/** Not node:readline, for which U+2028 ends a line; in JSON it may stand in a string. */
async function* readLines(path: string): AsyncGenerator<string> {
  const decoder = new StringDecoder('utf8')
  let rest = ''
  for await (const chunk of createReadStream(path)) {
    const lines = (rest + decoder.write(chunk)).split('\n')
    rest = lines.pop()!
    yield* lines
  }
  yield rest + decoder.end()
}
