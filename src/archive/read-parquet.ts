import { zstdDecompressSync } from 'node:zlib'
import { type AsyncBuffer, parquetMetadataAsync, parquetReadObjects, parquetSchema } from 'hyparquet'
import { TokenvaultError } from '../errors.ts'
import { type Column, fromParquet, type Value } from './columns.ts'

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
): AsyncGenerator<readonly (readonly Value[])[]> {
  const refuse = (error: unknown) =>
    error instanceof TokenvaultError ? error : new TokenvaultError('archive_changed', `${name} cannot be read`)
  const buffer: AsyncBuffer = file
  const metadata = await parquetMetadataAsync(buffer).catch(error => {
    throw refuse(error)
  })
  const names = parquetSchema(metadata).children.map(({ element }) => element.name)
  if (names.length !== columns.length || columns.some(column => !names.includes(column.name)))
    throw new TokenvaultError('archive_changed', `${name} has other columns than its manifest says`)
  let rowStart = 0
  for (const { num_rows: rows } of metadata.row_groups) {
    const rowEnd = rowStart + Number(rows)
    const objects = await parquetReadObjects({
      file: buffer,
      metadata,
      rowStart,
      rowEnd,
      compressors: { ZSTD: bytes => zstdDecompressSync(bytes) },
    }).catch(error => {
      throw refuse(error)
    })
    yield objects.map(row => columns.map(column => fromParquet(row[column.name])))
    rowStart = rowEnd
  }
}
