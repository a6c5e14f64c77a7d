/**
 * Many byte strings in one allocation, as Arrow lays out a variable-length column: value i stands at
 * bytes[offsets[i] .. offsets[i + 1]). `offsets` has one entry more than there are values and starts at 0.
 */
export interface ByteColumn {
  readonly bytes: Uint8Array
  readonly offsets: Uint32Array
}

/** The number of values. */
export function columnLength(column: ByteColumn): number {
  return column.offsets.length - 1
}

/** A view of value i, not a copy. */
export function valueAt(column: ByteColumn, index: number): Uint8Array {
  return column.bytes.subarray(column.offsets[index], column.offsets[index + 1])
}

/** Copies the values into a column of their own. */
export function packBytes(values: readonly Uint8Array[]): ByteColumn {
  const offsets = new Uint32Array(values.length + 1)
  for (const [index, value] of values.entries()) offsets[index + 1] = offsets[index]! + value.length
  const bytes = new Uint8Array(offsets[values.length]!)
  for (const [index, value] of values.entries()) bytes.set(value, offsets[index])
  return { bytes, offsets }
}

/** Texts as UTF-8. Each must be well formed: a lone surrogate would silently become U+FFFD. */
export function packText(values: readonly string[]): ByteColumn {
  // One native call for all of them; where every character took one byte, lengths are known without asking again.
  const joined = values.join('')
  const bytes = Buffer.from(joined, 'utf8')
  const oneByteEach = bytes.length === joined.length
  const offsets = new Uint32Array(values.length + 1)
  for (let index = 0, offset = 0; index < values.length; index++) {
    const value = values[index]!
    offset += oneByteEach ? value.length : Buffer.byteLength(value, 'utf8')
    offsets[index + 1] = offset
  }
  return { bytes, offsets }
}

/** The values as text; they must be UTF-8. */
export function unpackText({ bytes, offsets }: ByteColumn): string[] {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const joined = buffer.toString('utf8')
  const oneByteEach = joined.length === bytes.length
  const values = new Array<string>(offsets.length - 1)
  for (let index = 0; index < values.length; index++) {
    const start = offsets[index]!
    const end = offsets[index + 1]!
    values[index] = oneByteEach ? joined.slice(start, end) : buffer.toString('utf8', start, end)
  }
  return values
}
