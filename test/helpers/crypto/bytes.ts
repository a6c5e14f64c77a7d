import type { ByteColumn } from '../../../src/crypto/byte-column.ts'
import { columnLength, valueAt } from '../../../src/crypto/byte-column.ts'

export function hex(text: string): Uint8Array {
  return Uint8Array.from(Buffer.from(text, 'hex'))
}

export function toHex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex')
}

/** Every value of a column as hexadecimal text. */
export function columnToHex(column: ByteColumn): string[] {
  return Array.from({ length: columnLength(column) }, (_, index) => toHex(valueAt(column, index)))
}

/** The same bytes as a view into a larger allocation, at an odd offset: as a pooled Buffer may stand. */
export function pooled(bytes: Uint8Array, offset = 3): Uint8Array {
  const room = Buffer.alloc(bytes.length + offset + 5, 0xa5)
  room.set(bytes, offset)
  return room.subarray(offset, offset + bytes.length)
}

/** Copies with one bit turned, for every bit. */
export function everyBitFlipped(bytes: Uint8Array): Uint8Array[] {
  return Array.from({ length: bytes.length * 8 }, (_, bit) => {
    const copy = Uint8Array.from(bytes)
    copy[bit >> 3] = copy[bit >> 3]! ^ (1 << (bit & 7))
    return copy
  })
}
