import { type FileHandle, open } from 'node:fs/promises'
import { fileInvalid } from './column-file.ts'
import { readThrift, type ThriftList, type ThriftStruct, type ThriftValue, thriftType } from './thrift.ts'

/** Field ids of apache/parquet-format src/main/thrift/parquet.thrift. */
export const footerField = { schema: 2, rows: 3, rowGroups: 4, keyValues: 5, encryption: 8 } as const
export const groupField = { columns: 1, bytes: 2, rows: 3, sorting: 4, fileOffset: 5, compressedBytes: 6 } as const
export const chunkField = {
  ...{ filePath: 1, fileOffset: 2, metadata: 3 },
  ...{ offsetIndex: 4, offsetIndexLength: 5, columnIndex: 6, columnIndexLength: 7, crypto: 8, encrypted: 9 },
} as const
export const columnField = {
  ...{ path: 3, uncompressedBytes: 6, compressedBytes: 7 },
  ...{ dataPage: 9, indexPage: 10, dictionaryPage: 11, statistics: 12, bloomFilter: 14, bloomFilterLength: 15 },
} as const

const magic = 'PAR1'

/** Where one column's pages of one row group stand in the file. */
export interface Chunk {
  readonly struct: ThriftStruct
  readonly metadata: ThriftStruct
  /** Names from the outermost to the leaf. */
  readonly path: readonly string[]
  readonly from: number
  readonly length: number
}

export interface Footer {
  readonly struct: ThriftStruct
  readonly groups: readonly {
    readonly struct: ThriftStruct
    readonly rows: number
    readonly chunks: readonly Chunk[]
  }[]
}

/** @throws TokenvaultError `import_file_invalid` */
export async function readFooter(path: string): Promise<Footer> {
  const file = await open(path)
  try {
    const { size } = await file.stat()
    if (size < 12) throw fileInvalid('the file is shorter than any Parquet file')
    const head = (await readRange(file, 0, 4)).toString('latin1')
    const tail = await readRange(file, size - 8, 8)
    const ending = tail.toString('latin1', 4)
    if (head === 'PARE' || ending === 'PARE') throw fileInvalid('the Parquet file is encrypted')
    if (head !== magic || ending !== magic) throw fileInvalid('the file does not begin and end as Parquet files do')
    const length = tail.readUInt32LE(0)
    if (length > size - 12) throw fileInvalid('the footer of the Parquet file is longer than the file')
    return openFooter(readThrift(await readRange(file, size - 8 - length, length)), size)
  } catch (error) {
    if (!(error instanceof RangeError || error instanceof TypeError)) throw error
    throw fileInvalid('the footer of the Parquet file is broken')
  } finally {
    await file.close()
  }
}

/** As readFooter, of a file in memory that was just made. */
export function openFooterOf(bytes: Buffer): Footer {
  const end = bytes.length - 8
  return openFooter(readThrift(bytes.subarray(end - bytes.readUInt32LE(end), end)), bytes.length)
}

function openFooter(struct: ThriftStruct, size: number): Footer {
  if (struct.has(footerField.encryption)) throw fileInvalid('the Parquet file is encrypted')
  const groups = structsOf(struct, footerField.rowGroups).map(group => ({
    struct: group,
    rows: numberOf(group, groupField.rows),
    chunks: structsOf(group, groupField.columns).map(chunk => openChunk(chunk, size)),
  }))
  return { struct, groups }
}

function openChunk(struct: ThriftStruct, size: number): Chunk {
  const metadata = struct.get(chunkField.metadata)?.value
  if (struct.has(chunkField.filePath)) throw fileInvalid('a column of the Parquet file stands in another file')
  if (struct.has(chunkField.crypto) || struct.has(chunkField.encrypted))
    throw fileInvalid('the Parquet file is encrypted')
  if (!(metadata instanceof Map)) throw fileInvalid('the footer of the Parquet file is broken')
  const pages = [columnField.dataPage, columnField.indexPage, columnField.dictionaryPage]
  // Some writers say 0 where there is no such page.
  const offsets = pages.map(id => (metadata.has(id) ? numberOf(metadata, id) : 0)).filter(offset => offset > 0)
  const from = Math.min(...offsets)
  const length = numberOf(metadata, columnField.compressedBytes)
  if (offsets.length === 0 || from < 4 || length < 0 || from + length > size)
    throw fileInvalid('the footer of the Parquet file names places outside of the file')
  const names = listOf(metadata, columnField.path).items
  return { struct, metadata, from, length, path: names.map(name => Buffer.from(name as Uint8Array).toString()) }
}

/** @throws RangeError where the file is shorter */
export async function readRange(file: FileHandle, from: number, length: number): Promise<Buffer> {
  const bytes = Buffer.allocUnsafe(length)
  for (let done = 0; done < length; ) {
    const { bytesRead } = await file.read(bytes, done, length - done, from + done)
    if (bytesRead === 0) throw new RangeError('the file ends too soon')
    done += bytesRead
  }
  return bytes
}

export function listOf(struct: ThriftStruct, id: number): ThriftList {
  const value = struct.get(id)?.value
  if (value === undefined || typeof value === 'bigint' || !('items' in value)) throw new TypeError('not a list')
  return value
}

export function structsOf(struct: ThriftStruct, id: number): ThriftStruct[] {
  return listOf(struct, id).items.map(item => {
    if (!(item instanceof Map)) throw new TypeError('not a struct')
    return item
  })
}

export function numberOf(struct: ThriftStruct, id: number): number {
  const value = struct.get(id)?.value
  if (typeof value !== 'bigint') throw new TypeError('not a number')
  return Number(value)
}

/** Sets a number of 64 bits. */
export function setNumber(struct: ThriftStruct, id: number, value: number): void {
  struct.set(id, { type: struct.get(id)?.type ?? thriftType.i64, value: BigInt(value) })
}

export function copyStruct(struct: ThriftStruct): ThriftStruct {
  return new Map([...struct].map(([id, { type, value }]) => [id, { type, value: copyValue(value) }]))
}

function copyValue(value: ThriftValue): ThriftValue {
  if (value instanceof Map) return copyStruct(value)
  if (value === undefined || typeof value === 'bigint' || value instanceof Uint8Array) return value
  return { type: value.type, items: value.items.map(copyValue) }
}
