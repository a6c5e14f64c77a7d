import { type ByteColumn, columnLength, valueAt } from './byte-column.ts'

/** Each value as unpadded base64url (RFC 4648, 5). */
export function encodeBase64url(column: ByteColumn): string[] {
  const count = columnLength(column)
  if (count === 1) return [asBuffer(valueAt(column, 0)).toString('base64url')]
  // Values start at multiples of three bytes, where base64 has no memory of what came before: one native call
  // encodes all of them, and each value's text is a slice. The zero bytes between are the padding bits.
  const starts = new Uint32Array(count + 1)
  for (let index = 0; index < count; index++) {
    starts[index + 1] = starts[index]! + Math.ceil((column.offsets[index + 1]! - column.offsets[index]!) / 3) * 3
  }
  const spread = new Uint8Array(starts[count]!)
  for (let index = 0; index < count; index++) {
    const end = column.offsets[index + 1]!
    for (let from = column.offsets[index]!, to = starts[index]!; from < end; from++, to++)
      spread[to] = column.bytes[from]!
  }
  const text = asBuffer(spread).toString('base64url')
  const values = new Array<string>(count)
  for (let index = 0; index < count; index++) {
    const start = (starts[index]! / 3) * 4
    const length = Math.ceil(((column.offsets[index + 1]! - column.offsets[index]!) * 4) / 3)
    values[index] = text.slice(start, start + length)
  }
  return values
}

/** @returns the bytes, or undefined unless the text is exactly what encodeBase64url gives for some bytes */
export function decodeBase64url(text: string): Uint8Array | undefined {
  // Bits that no byte uses must be zero, or one value would have several texts.
  const canonical = [/^[A-Za-z0-9_-]*$/, undefined, /^[A-Za-z0-9_-]*[AQgw]$/, /^[A-Za-z0-9_-]*[AEIMQUYcgkosw048]$/][
    text.length % 4
  ]
  return canonical?.test(text) ? Buffer.from(text, 'base64url') : undefined
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}
