import { isUtf8 } from 'node:buffer'
import { createReadStream } from 'node:fs'
import { type AnyCell, type Cell, type ColumnFile, fileInvalid, type TakeReplacements } from './column-file.ts'
import { zip } from './zip.ts'

/** A row of a text file: where it stands in the bytes of its group, and where the column's cell stands in it. */
export interface TextRow {
  readonly from: number
  readonly to: number
  /** Of the cell with all that belongs to it, such as quotes; equal to cellTo where a JSON object lacks the member. */
  readonly cellFrom: number
  readonly cellTo: number
  readonly text: string | undefined
  /** On which the row begins, from 1. */
  readonly line: number
}

/** Splits bytes into rows; made anew for each reading. */
export interface RowReader {
  /**
   * @param bytes from the end of the last row that it gave
   * @param isLast whether the file ends with them
   * @returns the rows that end in the bytes, and how many bytes these and what is no row take
   * @throws TokenvaultError `import_file_invalid`, with line and column
   */
  read(bytes: Buffer, isLast: boolean): { readonly rows: TextRow[]; readonly used: number }
  /** @throws TokenvaultError `import_file_invalid` where the whole file was read and lacks something */
  end(): void
}

/** A text format: how it is read, how a cell is written, and another reader of it for the proof. */
export interface TextFormat {
  createReader(): RowReader
  /** @param isQuoted whether the cell that is replaced began with a quotation mark */
  writeCell(token: string | null, isQuoted: boolean): string
  everyCell(path: string): AsyncIterable<readonly AnyCell[]>
}

interface Group {
  readonly bytes: Buffer
  readonly rows: readonly TextRow[]
}

const chunkBytes = 256 * 1024

/** A row that is longer is taken for a quotation mark that nobody closed, before it fills the memory. */
export const longestRowBytes = 16 * 1024 * 1024

const quote = 0x22

/** A CSV or JSONL file. Cells are replaced where they stand, so that every other byte of the file stays what it is. */
export function createTextFile(path: string, format: TextFormat): ColumnFile & { groups(): AsyncGenerator<Group> } {
  const groups = () => readGroups(path, format.createReader())
  return {
    placeName: 'line',
    groups,
    async check() {
      let rows = 0
      for await (const group of groups()) rows += group.rows.length
      return rows
    },
    cells: skip => readCells(groups(), skip),
    async *rewrite(take) {
      for await (const group of groups()) yield rewriteGroup(group, await take(group.rows.length), format)
    },
    compareRest: other => compareRows(groups(), (other as ReturnType<typeof createTextFile>).groups()),
    everyCell: () => format.everyCell(path),
  }
}

async function* readGroups(path: string, reader: RowReader): AsyncGenerator<Group> {
  let rest: Buffer = Buffer.alloc(0)
  let line = 1
  const take = (bytes: Buffer, isLast: boolean): Group => {
    const { rows, used } = reader.read(bytes, isLast)
    const taken = bytes.subarray(0, used)
    if (!isUtf8(taken)) throw fileInvalid(`line ${line + validLines(taken)} is not UTF-8`)
    line += countLines(taken)
    rest = bytes.subarray(used)
    return { bytes: taken, rows }
  }
  for await (const chunk of createReadStream(path, { highWaterMark: chunkBytes })) {
    const group = take(rest.length === 0 ? chunk : Buffer.concat([rest, chunk]), false)
    if (group.bytes.length > 0) yield group
    if (rest.length > longestRowBytes)
      throw fileInvalid(`the row of line ${line} is longer than ${longestRowBytes} bytes`)
  }
  const last = take(rest, true)
  if (last.bytes.length > 0) yield last
  reader.end()
}

/** Line breaks before the first line that is not UTF-8. */
function validLines(bytes: Buffer): number {
  let lines = 0
  for (let from = 0; ; lines++) {
    const to = bytes.indexOf(10, from)
    if (to === -1 || !isUtf8(bytes.subarray(from, to))) return lines
    from = to + 1
  }
}

export function countLines(bytes: Buffer, from = 0, to = bytes.length): number {
  let lines = 0
  for (let at = bytes.indexOf(10, from); at !== -1 && at < to; at = bytes.indexOf(10, at + 1)) lines++
  return lines
}

async function* readCells(groups: AsyncIterable<Group>, skip: number): AsyncGenerator<readonly Cell[]> {
  let toSkip = skip
  for await (const { rows } of groups) {
    const cells = rows.slice(toSkip).map(({ text, line }) => ({ text, place: line }))
    toSkip = Math.max(0, toSkip - rows.length)
    if (cells.length > 0) yield cells
  }
}

function rewriteGroup(
  { bytes, rows }: Group,
  replacements: Awaited<ReturnType<TakeReplacements>>,
  { writeCell }: TextFormat,
): Buffer {
  const pieces: Uint8Array[] = []
  let at = 0
  for (const [index, { cellFrom, cellTo }] of rows.entries()) {
    const replacement = replacements[index]
    if (replacement === undefined) continue
    pieces.push(bytes.subarray(at, cellFrom), Buffer.from(writeCell(replacement, bytes[cellFrom] === quote)))
    at = cellTo
  }
  pieces.push(bytes.subarray(at))
  return Buffer.concat(pieces)
}

/** Everything but the cells, row by row, byte by byte; headers, blank lines and line breaks too. */
async function compareRows(left: AsyncIterable<Group>, right: AsyncIterable<Group>): Promise<string | undefined> {
  let row = 0
  let difference: string | undefined
  await zip<Buffer>(readRest(left), readRest(right), (one, two) => {
    row++
    if (one === undefined || two === undefined)
      difference = `the result has ${one === undefined ? 'more' : 'fewer'} rows`
    else if (!one.equals(two)) difference = `row ${row} differs outside of the column`
    return difference === undefined
  })
  return difference
}

/** The bytes from the end of one cell of the column to the beginning of the next; last those behind the last cell. */
async function* readRest(groups: AsyncIterable<Group>): AsyncGenerator<readonly Buffer[]> {
  let carried: Buffer = Buffer.alloc(0)
  for await (const { bytes, rows } of groups) {
    const pieces: Buffer[] = []
    let at = 0
    for (const { cellFrom, cellTo } of rows) {
      const piece = bytes.subarray(at, cellFrom)
      pieces.push(carried.length === 0 ? piece : Buffer.concat([carried, piece]))
      carried = Buffer.alloc(0)
      at = cellTo
    }
    carried = Buffer.concat([carried, bytes.subarray(at)])
    yield pieces
  }
  yield [carried]
}
