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

/** 128-bit identities as bytes, from 32 hexadecimal digits each. @throws RangeError for anything else */
export function packIds(ids: readonly string[]): ByteColumn {
  // One native call for all of them. Buffer.from stops at the first character that is not a digit, and would bind to less than was meant.
  const bytes = Buffer.from(ids.join(''), 'hex')
  if (bytes.length !== ids.length * 16 || ids.some(id => id.length !== 32))
    throw new RangeError('an id is not 32 hexadecimal digits')
  return { bytes, offsets: equalOffsets(ids.length, 16) }
}

/** Where n values of one length begin. */
export function equalOffsets(count: number, length: number): Uint32Array {
  const offsets = new Uint32Array(count + 1)
  for (let index = 0; index <= count; index++) offsets[index] = index * length
  return offsets
}
