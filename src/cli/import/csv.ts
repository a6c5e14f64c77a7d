import { createReadStream } from 'node:fs'
import { parse } from 'csv-parse'
import { type AnyCell, fileInvalid } from './column-file.ts'
import { createTextFile, longestRowBytes, type RowReader, type TextFormat, type TextRow } from './text-file.ts'

const quote = 0x22
const lineFeed = 0x0a
const carriageReturn = 0x0d
const byteOrderMark = Buffer.from('\ufeff')

/**
 * A CSV file (RFC 4180) with a header.
 *
 * Its own reader and not csv-parse finds the places of cells, because csv-parse gives cells without their places, and a file
 * that is put together again from cells has lost its quotes and line breaks. csv-parse reads the result for the proof.
 *
 * @param delimiter one ASCII character
 */
export function openCsv(path: string, column: string, delimiter: string) {
  const code = delimiter.charCodeAt(0)
  const state = { width: 0 }
  const format: TextFormat = {
    createReader: () => createCsvReader(column, code, state),
    writeCell(token, isQuoted) {
      // A row of one cell without anything is a blank line, which many readers leave out.
      if (token === null) return isQuoted || state.width === 1 ? '""' : ''
      return isQuoted || token.includes(delimiter) ? `"${token}"` : token
    },
    everyCell: path => readByCsvParse(path, delimiter),
  }
  return createTextFile(path, format)
}

interface CsvCell {
  readonly from: number
  readonly to: number
}

/** @param state is told how many cells a row has */
function createCsvReader(column: string, delimiter: number, state: { width: number }): RowReader {
  let line = 1
  let place: number | undefined
  const readHeader = (bytes: Buffer, cells: readonly CsvCell[]) => {
    const names = cells.map(cell => textOf(bytes, cell))
    place = findColumn(names, column)
    state.width = names.length
  }
  return {
    read(bytes, isLast) {
      const rows: TextRow[] = []
      let used = 0
      while (used < bytes.length) {
        const isFirst = place === undefined
        const hasMark = isFirst && bytes.subarray(used).indexOf(byteOrderMark) === 0
        // A mark may be cut off; whether it is one shows with more bytes.
        if (isFirst && !isLast && bytes.length - used < byteOrderMark.length) break
        const record = readRecord(bytes, used + (hasMark ? byteOrderMark.length : 0), isLast, delimiter, line)
        if (record === undefined) break
        const { cells, to, lines } = record
        if (isFirst) readHeader(bytes, cells)
        else if (cells.length !== state.width)
          throw fileInvalid(`line ${line} has ${count(cells.length, 'cell')} where the header has ${state.width}`)
        else {
          const cell = cells[place!]!
          const text = textOf(bytes, cell)
          rows.push({
            ...{ from: used, to, cellFrom: cell.from, cellTo: cell.to, line },
            text: text === '' ? undefined : text,
          })
        }
        line += lines
        used = to
      }
      return { rows, used }
    },
    end() {
      if (place === undefined) throw fileInvalid('the file is empty; its first line must name the columns')
    },
  }
}

/** @returns undefined where the record does not end in the bytes */
function readRecord(bytes: Buffer, start: number, isLast: boolean, delimiter: number, firstLine: number) {
  const cells: CsvCell[] = []
  let at = start
  let lines = 0
  const broken = (position: number, problem: string) => {
    // A negative offset would count from the end.
    const lineStart = position === 0 ? 0 : Math.max(start, bytes.lastIndexOf(lineFeed, position - 1) + 1)
    const place = [...bytes.toString('utf8', lineStart, position)].length + 1
    return fileInvalid(`line ${firstLine + lines}, column ${place}: ${problem}`)
  }
  for (;;) {
    const from = at
    if (bytes[at] === quote) {
      const closed = findClosingQuote(bytes, at)
      if (closed === -1) {
        if (isLast) throw broken(from, 'a quotation mark is never closed')
        return undefined
      }
      for (
        let feed = bytes.indexOf(lineFeed, at);
        feed !== -1 && feed < closed;
        feed = bytes.indexOf(lineFeed, feed + 1)
      )
        lines++
      at = closed + 1
    } else {
      while (at < bytes.length && !isEnd(bytes[at]!, delimiter)) {
        if (bytes[at] === quote)
          throw broken(at, 'a quotation mark stands inside of a cell that does not begin with one')
        at++
      }
    }
    cells.push({ from, to: at })
    // One more byte may make a closing quotation mark the first half of a doubled one, or end a CRLF.
    if (at >= bytes.length) return isLast ? { cells, to: at, lines } : undefined
    if (bytes[at] === delimiter) {
      at++
      // The file may end behind a delimiter, with an empty cell.
      if (at >= bytes.length && !isLast) return undefined
      continue
    }
    if (bytes[at] === lineFeed) return { cells, to: at + 1, lines: lines + 1 }
    if (bytes[at] !== carriageReturn) throw broken(at, 'something stands behind a closing quotation mark')
    if (at + 1 >= bytes.length && !isLast) return undefined
    if (bytes[at + 1] !== lineFeed) throw broken(at, 'a carriage return stands alone; lines end in LF or CRLF')
    return { cells, to: at + 2, lines: lines + 1 }
  }
}

function isEnd(byte: number, delimiter: number): boolean {
  return byte === delimiter || byte === lineFeed || byte === carriageReturn
}

function findClosingQuote(bytes: Buffer, opening: number): number {
  let at = bytes.indexOf(quote, opening + 1)
  while (at !== -1 && bytes[at + 1] === quote) at = bytes.indexOf(quote, at + 2)
  return at
}

function textOf(bytes: Buffer, { from, to }: CsvCell): string {
  return bytes[from] === quote
    ? bytes.toString('utf8', from + 1, to - 1).replaceAll('""', '"')
    : bytes.toString('utf8', from, to)
}

/** Never lists the names: the first line of a file without a header holds values. */
function findColumn(names: readonly string[], column: string): number {
  const place = names.indexOf(column)
  if (place !== -1) {
    if (names.indexOf(column, place + 1) !== -1) throw fileInvalid('line 1 names the column twice')
    return place
  }
  const isNear = names.some(name => name.trim().toLowerCase() === column.trim().toLowerCase())
  const hint = isNear ? '; one differs in case or white space only' : ''
  throw fileInvalid(`line 1 names ${count(names.length, 'column')} and not the one of --column${hint}`)
}

function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`
}

/** Cells of a whole file in portions of rows. */
async function* readByCsvParse(path: string, delimiter: string): AsyncGenerator<readonly AnyCell[]> {
  const parser = parse({
    bom: true,
    delimiter,
    record_delimiter: ['\r\n', '\n'],
    max_record_size: longestRowBytes,
    skip_empty_lines: false,
  })
  const source = createReadStream(path)
  source.on('error', error => parser.destroy(error))
  let names: readonly string[] | undefined
  let row = 0
  let cells: AnyCell[] = []
  try {
    for await (const record of source.pipe(parser) as AsyncIterable<string[]>) {
      if (names === undefined) {
        names = record
        continue
      }
      row++
      for (const [index, text] of record.entries()) cells.push({ text, row, column: names[index] ?? String(index + 1) })
      if (cells.length < 10_000) continue
      yield cells
      cells = []
    }
  } catch {
    // Without the cause: the message quotes a line.
    throw fileInvalid(`row ${row + 1} is not CSV for another reader`)
  }
  yield cells
}
