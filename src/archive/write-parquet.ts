import { zstdCompressSync } from 'node:zlib'
import { ByteWriter, ParquetWriter } from 'hyparquet-writer'
import { type Column, kindOf, schemaOf, toParquet, type Value } from './columns.ts'

/** Rows of a group: what is held in memory at a time, and what a reader skips or reads as a whole. */
export const groupRows = 50_000

/**
 * The bytes of a Parquet file, compressed with zstd, one row group after the other: memory does not grow with the rows.
 *
 * @param batches rows in the order of the columns; a batch becomes a row group
 */
export async function* writeParquet(
  columns: readonly Column[],
  batches: AsyncIterable<readonly (readonly Value[])[]>,
): AsyncGenerator<Uint8Array> {
  const writer = new ByteWriter()
  const take = () => {
    const bytes = writer.getBytes().slice()
    writer.index = 0
    return bytes
  }
  const parquet = new ParquetWriter({
    writer,
    schema: schemaOf(columns),
    codec: 'ZSTD',
    compressors: { ZSTD: bytes => zstdCompressSync(bytes) },
    createdBy: 'tokenvault',
  })
  for await (const rows of batches) {
    if (rows.length === 0) continue
    const columnData = columns.map((column, place) => {
      const kind = kindOf(column)
      const data = rows.map(row => toParquet(kind, row[place]!))
      return { name: column.name, data, offsetIndex: false }
    })
    await parquet.write({ columnData, rowGroupSize: rows.length })
    yield take()
  }
  await parquet.finish()
  yield take()
}
