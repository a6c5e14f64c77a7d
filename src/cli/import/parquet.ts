import { open } from 'node:fs/promises'
import { asyncBufferFromFile, type FileMetaData, parquetMetadataAsync, parquetScan, parquetSchema } from 'hyparquet'
import { compressors } from 'hyparquet-compressors'
import { TokenvaultError } from '../../errors.ts'
import { type AnyCell, type Cell, type ColumnFile, fileInvalid } from './column-file.ts'
import { type Chunk, type Footer, footerField, readFooter, readRange } from './parquet-footer.ts'
import { rewriteParquet } from './rewrite-parquet.ts'
import { type ThriftStruct, writeThrift } from './thrift.ts'

/** A Parquet file with a column of strings. Row groups are read and written one after the other. */
export function openParquet(path: string, column: string): ColumnFile & { readonly path: string } {
  return {
    placeName: 'row',
    path,
    async check() {
      await readFooter(path)
      let rows = 0
      for await (const cells of readCells(path, column)) rows += cells.length
      return rows
    },
    async *cells(skip) {
      let toSkip = skip
      for await (const cells of readCells(path, column)) {
        if (cells.length > toSkip) yield cells.slice(toSkip)
        toSkip = Math.max(0, toSkip - cells.length)
      }
    },
    async *rewrite(take) {
      const { element } = await openColumn(path, column)
      const groups = readCells(path, column)[Symbol.asyncIterator]()
      yield* rewriteParquet(path, column, element.repetition_type !== 'REQUIRED', async rows => {
        const { value: cells } = await groups.next()
        const replacements = await take(rows)
        return (cells as readonly Cell[]).map(({ text }, index) => {
          const replacement = replacements[index]
          return replacement === undefined ? text : (replacement ?? undefined)
        })
      })
    },
    compareRest: other => compareFiles(path, (other as { path: string } & ColumnFile).path, column),
    everyCell: () => readEveryCell(path),
  }
}

/** @throws TokenvaultError `import_file_invalid` where the column is missing, stands there twice or holds something else */
async function openColumn(path: string, column: string) {
  const file = await asyncBufferFromFile(path)
  const metadata = await attempt('the footer of the Parquet file is broken', () => parquetMetadataAsync(file))
  const { children } = parquetSchema(metadata)
  const [found, ...others] = children.filter(({ element }) => element.name === column)
  if (found === undefined) {
    const names = children.slice(0, 20).map(({ element }) => JSON.stringify(element.name))
    throw fileInvalid(`there is no such column; the file has ${names.join(', ')}${children.length > 20 ? ' …' : ''}`)
  }
  if (others.length > 0) throw fileInvalid('two columns have the name of --column')
  const { element } = found
  const logical = element.logical_type?.type
  if (found.children.length > 0 || element.repetition_type === 'REPEATED')
    throw fileInvalid('the column is nested; only columns of strings are imported')
  const isText =
    element.type === 'BYTE_ARRAY' &&
    (element.converted_type ?? 'UTF8') === 'UTF8' &&
    (logical === undefined || logical === 'STRING')
  if (!isText)
    throw fileInvalid(
      `the column holds ${logical ?? element.converted_type ?? element.type}; only columns of strings are imported`,
    )
  return { file, metadata, element }
}

/** One portion for each row group that has rows. */
async function* readCells(path: string, column: string): AsyncGenerator<readonly Cell[]> {
  const { file, metadata } = await openColumn(path, column)
  for (const { from, to } of rowRanges(metadata)) {
    const values = await readColumn(file, metadata, column, from, to)
    const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
    yield Array.from(values, (value, index): Cell => {
      const place = from + index + 1
      if (value === undefined || value === null) return { text: undefined, place }
      try {
        return { text: decoder.decode(value as Uint8Array) || undefined, place }
      } catch {
        throw fileInvalid(`row ${place} is not UTF-8`)
      }
    })
  }
}

function rowRanges(metadata: FileMetaData): { from: number; to: number }[] {
  let at = 0
  return metadata.row_groups
    .map(({ num_rows: rows }) => {
      const from = at
      at += Number(rows)
      return { from, to: at }
    })
    .filter(({ from, to }) => to > from)
}

/** Strings as their bytes. */
async function readColumn(
  file: Awaited<ReturnType<typeof asyncBufferFromFile>>,
  metadata: FileMetaData,
  column: string,
  from: number,
  to: number,
): Promise<ArrayLike<unknown>> {
  const parsers = { stringFromBytes: (bytes: Uint8Array) => bytes }
  const values = await attempt(`the column cannot be read in rows ${from + 1} to ${to}`, async () => {
    // A scan keeps what it read, so each row group has one of its own.
    const scan = await parquetScan({
      ...{ file, metadata, compressors, parsers, useOffsetIndex: false },
      columns: [column],
    })
    return scan.readColumn({ column, rowStart: from, rowEnd: to })
  })
  if (values.length !== to - from) throw fileInvalid(`the column lacks rows between ${from + 1} and ${to}`)
  return values
}

/** What a library throws may quote what it read. */
async function attempt<T>(problem: string, run: () => Promise<T>): Promise<T> {
  try {
    return await run()
  } catch (error) {
    if (error instanceof TokenvaultError) throw error
    throw fileInvalid(problem)
  }
}

async function compareFiles(path: string, otherPath: string, column: string): Promise<string | undefined> {
  const [one, two] = [await readFooter(path), await readFooter(otherPath)]
  for (const [name, id] of [
    ['schema', footerField.schema],
    ['keys and values', footerField.keyValues],
  ] as const) {
    if (!partOf(one.struct, id).equals(partOf(two.struct, id))) return `the ${name} of the file differ`
  }
  const withRows = ({ groups }: Footer) => groups.filter(({ rows }) => rows > 0)
  const [left, right] = [withRows(one), withRows(two)]
  if (left.length !== right.length) return 'the result has another number of row groups'
  const files = [await open(path), await open(otherPath)] as const
  try {
    for (const [index, group] of left.entries()) {
      const other = right[index]!
      if (group.rows !== other.rows) return `row group ${index + 1} has another number of rows`
      if (group.chunks.length !== other.chunks.length) return `row group ${index + 1} has another number of columns`
      for (const [place, chunk] of group.chunks.entries()) {
        if (chunk.path.length === 1 && chunk.path[0] === column) continue
        const isSame = await isSameChunk(files, chunk, other.chunks[place]!)
        if (!isSame) return `row group ${index + 1} differs in column ${JSON.stringify(chunk.path.join('.'))}`
      }
    }
  } finally {
    for (const file of files) await file.close()
  }
  return undefined
}

function partOf(struct: ThriftStruct, id: number): Buffer {
  const part = struct.get(id)
  return part === undefined ? Buffer.alloc(0) : writeThrift(new Map([[id, part]]))
}

/** The pages byte for byte, and what the footer says of their type, encoding and compression. */
async function isSameChunk(
  files: readonly [Parameters<typeof readRange>[0], Parameters<typeof readRange>[0]],
  one: Chunk,
  two: Chunk,
) {
  const meant = ({ metadata }: Chunk) => writeThrift(new Map([...metadata].filter(([id]) => id <= 7)))
  if (one.length !== two.length || !meant(one).equals(meant(two))) return false
  const step = 1024 * 1024
  for (let at = 0; at < one.length; at += step) {
    const length = Math.min(step, one.length - at)
    const [a, b] = [await readRange(files[0], one.from + at, length), await readRange(files[1], two.from + at, length)]
    if (!a.equals(b)) return false
  }
  return true
}

/** Of every column, one row group and one column at a time. */
async function* readEveryCell(path: string): AsyncGenerator<readonly AnyCell[]> {
  const file = await asyncBufferFromFile(path)
  const metadata = await attempt('the footer of the Parquet file is broken', () =>
    parquetMetadataAsync(file, { geoparquet: false }),
  )
  for (const { from, to } of rowRanges(metadata)) {
    for (const { element } of parquetSchema(metadata).children) {
      const values = await readColumn(file, metadata, element.name, from, to)
      const cells: AnyCell[] = []
      for (let index = 0; index < values.length; index++)
        for (const text of textsOf(values[index])) cells.push({ text, row: from + index + 1, column: element.name })
      yield cells
    }
  }
}

function* textsOf(value: unknown): Generator<string> {
  if (value === undefined || value === null) return
  if (value instanceof Uint8Array) yield Buffer.from(value).toString()
  else if (value instanceof Date) yield value.toISOString()
  else if (typeof value !== 'object') yield String(value)
  else for (const part of Object.values(value)) yield* textsOf(part)
}
