import { open } from 'node:fs/promises'
import { parquetWriteBuffer } from 'hyparquet-writer'
import {
  type Chunk,
  chunkField,
  columnField,
  copyStruct,
  footerField,
  groupField,
  numberOf,
  openFooterOf,
  readFooter,
  readRange,
  setNumber,
  structsOf,
} from './parquet-footer.ts'
import { type ThriftStruct, thriftType, writeThrift } from './thrift.ts'

const copyBytes = 1024 * 1024

/**
 * The bytes of a Parquet file with other values in one column of strings.
 *
 * Pages of all other columns are copied as they are, so that no type, encoding or compression is lost on the way; only their
 * offsets change. The column's own pages are new, compressed with Snappy. What would tell of its values or is wrong now is
 * left out: its statistics, bloom filter and page index, and the order of rows where they were sorted by it; the page
 * indexes of other columns, too, because they hold offsets.
 *
 * @param isNullable whether the column may hold null; otherwise an empty string stands for nothing
 * @param takeValues gives the values of a row group, undefined for null; called once a group, in order
 */
export async function* rewriteParquet(
  path: string,
  column: string,
  isNullable: boolean,
  takeValues: (rows: number) => Promise<readonly (string | undefined)[]>,
): AsyncGenerator<Uint8Array> {
  const footer = await readFooter(path)
  const file = await open(path)
  try {
    const head = Buffer.from('PAR1')
    yield head
    let offset = head.length
    const groups: ThriftStruct[] = []
    // A row group without rows says nothing, and its dictionary may hold values.
    for (const { struct, rows, chunks } of footer.groups.filter(group => group.rows > 0)) {
      const start = offset
      const written: Chunk[] = []
      for (const chunk of chunks) {
        const isColumn = chunk.path.length === 1 && chunk.path[0] === column
        const made = isColumn ? makeChunk(chunk, column, isNullable, await takeValues(rows)) : undefined
        const source = made?.chunk ?? chunk
        written.push(moveChunk(source, offset, chunk.struct))
        if (made !== undefined) yield made.bytes
        else
          for (let at = 0; at < chunk.length; at += copyBytes)
            yield await readRange(file, chunk.from + at, Math.min(copyBytes, chunk.length - at))
        offset += source.length
      }
      groups.push(makeGroup(struct, start, chunks, written, column))
    }
    const struct = copyStruct(footer.struct)
    struct.set(footerField.rowGroups, {
      type: thriftType.list,
      value: { type: thriftType.struct, items: groups },
    })
    const bytes = writeThrift(struct)
    const tail = Buffer.alloc(8, 'PAR1', 'latin1')
    tail.writeUInt32LE(bytes.length, 0)
    tail.write('PAR1', 4, 'latin1')
    yield Buffer.concat([bytes, tail])
  } finally {
    await file.close()
  }
}

/** A chunk with the values, made by hyparquet-writer as the only one of a file. */
function makeChunk(chunk: Chunk, column: string, isNullable: boolean, values: readonly (string | undefined)[]) {
  const data = isNullable ? values.map(value => value ?? null) : values.map(value => value ?? '')
  const whole = Buffer.from(
    parquetWriteBuffer({
      schema: [
        { name: 'root', num_children: 1 },
        {
          name: column,
          type: 'BYTE_ARRAY',
          converted_type: 'UTF8',
          repetition_type: isNullable ? 'OPTIONAL' : 'REQUIRED',
        },
      ],
      columnData: [{ name: column, data, offsetIndex: false, columnIndex: false }],
      codec: 'SNAPPY',
      statistics: false,
      rowGroupSize: values.length,
    }),
  )
  const made = openFooterOf(whole).groups[0]!.chunks[0]!
  const path = chunk.metadata.get(columnField.path)!
  made.metadata.set(columnField.path, path)
  return { chunk: made, bytes: whole.subarray(made.from, made.from + made.length) }
}

/** What the footer says of a chunk that begins somewhere else now. */
function moveChunk(chunk: Chunk, from: number, original: ThriftStruct): Chunk {
  const struct = copyStruct(original)
  const metadata = copyStruct(chunk.metadata)
  for (const id of [columnField.dataPage, columnField.indexPage, columnField.dictionaryPage]) {
    if (metadata.has(id) && numberOf(metadata, id) > 0)
      setNumber(metadata, id, numberOf(metadata, id) - chunk.from + from)
  }
  for (const id of [columnField.bloomFilter, columnField.bloomFilterLength]) metadata.delete(id)
  const { offsetIndex, offsetIndexLength, columnIndex, columnIndexLength } = chunkField
  for (const id of [offsetIndex, offsetIndexLength, columnIndex, columnIndexLength]) struct.delete(id)
  // Deprecated: 0, or a place from which nobody should read.
  if (struct.has(chunkField.fileOffset) && numberOf(struct, chunkField.fileOffset) !== 0)
    setNumber(struct, chunkField.fileOffset, from)
  struct.set(chunkField.metadata, { type: thriftType.struct, value: metadata })
  return { ...chunk, struct, metadata, from }
}

function makeGroup(
  original: ThriftStruct,
  start: number,
  chunks: readonly Chunk[],
  written: readonly Chunk[],
  column: string,
): ThriftStruct {
  const group = copyStruct(original)
  const sum = (list: readonly Chunk[], id: number) =>
    list.reduce((total, { metadata }) => total + numberOf(metadata, id), 0)
  const columns = { type: thriftType.struct, items: written.map(({ struct }) => struct) }
  group.set(groupField.columns, { type: thriftType.list, value: columns })
  setNumber(group, groupField.bytes, sum(written, columnField.uncompressedBytes))
  if (group.has(groupField.fileOffset)) setNumber(group, groupField.fileOffset, start)
  if (group.has(groupField.compressedBytes))
    setNumber(group, groupField.compressedBytes, sum(written, columnField.compressedBytes))
  const place = chunks.findIndex(({ path }) => path.length === 1 && path[0] === column)
  const isByColumn = (sorting: ThriftStruct) => numberOf(sorting, 1) === place
  if (group.has(groupField.sorting) && structsOf(group, groupField.sorting).some(isByColumn))
    group.delete(groupField.sorting)
  return group
}
