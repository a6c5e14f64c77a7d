import { zstdDecompressSync } from 'node:zlib'
import { type AsyncBuffer, type ParquetParsers, parquetMetadataAsync, parquetRead, parquetSchema } from 'hyparquet'
import { TokenvaultError } from '../errors.ts'
import { type Batch, type Column, dayOf, fromParquet, kindOf, type Value } from './columns.ts'

/** A file of an archive, read in parts. */
export interface ReadableFile {
  readonly byteLength: number
  slice(start: number, end?: number): Promise<ArrayBuffer>
}

/**
 * The rows of a file that writeParquet made, a row group at a time.
 *
 * @param name for the failure
 * @throws TokenvaultError `archive_changed` where the file has other columns or cannot be read; whatever the file throws
 */
export async function* readParquet(
  file: ReadableFile,
  columns: readonly Column[],
  name: string,
): AsyncGenerator<Batch> {
  const refuse = (error: unknown) =>
    error instanceof TokenvaultError ? error : new TokenvaultError('archive_changed', `${name} cannot be read`)
  const buffer: AsyncBuffer = file
  const metadata = await parquetMetadataAsync(buffer).catch(error => {
    throw refuse(error)
  })
  const names = parquetSchema(metadata).children.map(({ element }) => element.name)
  if (names.length !== columns.length || columns.some(column => !names.includes(column.name)))
    throw new TokenvaultError('archive_changed', `${name} has other columns than its manifest says`)
  const kinds = new Map(columns.map(column => [column.name, kindOf(column)]))
  let rowStart = 0
  for (const { num_rows: rows } of metadata.row_groups) {
    const rowEnd = rowStart + Number(rows)
    const found = new Map<string, Value[][]>(columns.map(({ name }) => [name, []]))
    await parquetRead({
      file: buffer,
      metadata,
      rowStart,
      rowEnd,
      compressors: { ZSTD: bytes => zstdDecompressSync(bytes) },
      parsers: parsers as ParquetParsers,
      onChunk: ({ columnName, columnData }) => {
        found.get(columnName)!.push(fromParquet(kinds.get(columnName)!, columnData) as Value[])
      },
    }).catch(error => {
      throw refuse(error)
    })
    const read = columns.map(({ name }) => found.get(name)!.flat())
    if (read.some(values => values.length !== Number(rows))) throw refuse(undefined)
    yield { rows: Number(rows), columns: read }
    rowStart = rowEnd
  }
}

function stringFromBytes(bytes: Uint8Array): string {
  return bytes && Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8')
}

/** Days as text: the reader allows for any value. */
function dateFromDays(days: number): Date {
  return (days === undefined ? undefined : dayOf(days)) as unknown as Date
}

/** The reader takes its own for the others. */
const parsers: Partial<ParquetParsers> = { stringFromBytes, dateFromDays }
