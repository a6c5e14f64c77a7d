/**
 * Thrift's compact protocol, as far as the footer of a Parquet file needs it. What is read keeps its types, so that a footer
 * can be written again with other offsets and everything else as it was, even what a later version of the format adds;
 * the readers of hyparquet and hyparquet-writer keep only what they know.
 * Source: apache/thrift doc/specs/thrift-compact-protocol.md
 */
export const thriftType = {
  true: 1,
  false: 2,
  byte: 3,
  i16: 4,
  i32: 5,
  i64: 6,
  double: 7,
  binary: 8,
  list: 9,
  set: 10,
  struct: 12,
}

/** Whole numbers are bigint; a double is its eight bytes; a boolean outside of a list stands in the type. */
export type ThriftValue = bigint | Uint8Array | ThriftList | ThriftStruct | undefined

export interface ThriftList {
  readonly type: number
  readonly items: ThriftValue[]
}

/** Fields by id, in ascending order. */
export type ThriftStruct = Map<number, { readonly type: number; readonly value: ThriftValue }>

/** @throws RangeError where the bytes end too soon or are not thrift */
export function readThrift(bytes: Uint8Array): ThriftStruct {
  return new Reader(bytes).struct(0)
}

const deepest = 64

class Reader {
  readonly #bytes: Uint8Array
  #at = 0

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
  }

  struct(depth: number): ThriftStruct {
    const fields: ThriftStruct = new Map()
    if (depth > deepest) throw new RangeError('too deep')
    for (let id = 0; ; ) {
      const head = this.#byte()
      const type = head & 15
      if (type === 0) return fields
      id = head >> 4 === 0 ? Number(this.#integer()) : id + (head >> 4)
      fields.set(id, { type, value: this.#value(type, depth, false) })
    }
  }

  #value(type: number, depth: number, isItem: boolean): ThriftValue {
    if (type === thriftType.true || type === thriftType.false) return isItem ? BigInt(this.#byte()) : undefined
    if (type === thriftType.byte) return BigInt(this.#byte())
    if (type === thriftType.i16 || type === thriftType.i32 || type === thriftType.i64) return this.#integer()
    if (type === thriftType.double) return this.#take(8)
    if (type === thriftType.binary) return this.#take(Number(this.#varint()))
    if (type === thriftType.struct) return this.struct(depth + 1)
    if (type !== thriftType.list && type !== thriftType.set) throw new RangeError('a type that Parquet does not use')
    const head = this.#byte()
    const size = head >> 4 === 15 ? Number(this.#varint()) : head >> 4
    if (size > this.#bytes.length) throw new RangeError('a list longer than the bytes')
    const items: ThriftValue[] = []
    for (let index = 0; index < size; index++) items.push(this.#value(head & 15, depth + 1, true))
    return { type: head & 15, items }
  }

  #byte(): number {
    const byte = this.#bytes[this.#at++]
    if (byte === undefined) throw new RangeError('the bytes end too soon')
    return byte
  }

  #take(length: number): Uint8Array {
    const from = this.#at
    this.#at += length
    if (this.#at > this.#bytes.length) throw new RangeError('the bytes end too soon')
    return this.#bytes.subarray(from, this.#at)
  }

  #varint(): bigint {
    let number = 0n
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = this.#byte()
      number |= BigInt(byte & 127) << shift
      if (byte < 128) return number
    }
    throw new RangeError('a number longer than 64 bits')
  }

  #integer(): bigint {
    const number = this.#varint()
    return (number >> 1n) ^ -(number & 1n)
  }
}

export function writeThrift(struct: ThriftStruct): Buffer {
  const bytes: number[] = []
  const pieces: Uint8Array[] = []
  const flush = () => {
    if (bytes.length > 0) pieces.push(Uint8Array.from(bytes.splice(0)))
  }
  const varint = (value: bigint) => {
    let rest = value
    for (; rest > 127n; rest >>= 7n) bytes.push(Number(rest & 127n) | 128)
    bytes.push(Number(rest))
  }
  const integer = (value: bigint) => varint(BigInt.asUintN(64, (value << 1n) ^ (value >> 63n)))
  const raw = (value: Uint8Array) => {
    flush()
    pieces.push(value)
  }
  const write = (type: number, value: ThriftValue) => {
    if (value === undefined) return
    if (value instanceof Map) writeStruct(value)
    else if (value instanceof Uint8Array) {
      if (type === thriftType.binary) varint(BigInt(value.length))
      raw(value)
    } else if (typeof value === 'bigint') {
      if (type <= thriftType.byte) bytes.push(Number(value))
      else integer(value)
    } else {
      const { length } = value.items
      bytes.push((Math.min(length, 15) << 4) | value.type)
      if (length >= 15) varint(BigInt(length))
      for (const item of value.items) write(value.type, item)
    }
  }
  const writeStruct = (fields: ThriftStruct) => {
    let last = 0
    for (const [id, { type, value }] of [...fields].sort(([a], [b]) => a - b)) {
      const step = id - last
      if (step > 0 && step < 16) bytes.push((step << 4) | type)
      else {
        bytes.push(type)
        integer(BigInt(id))
      }
      write(type, value)
      last = id
    }
    bytes.push(0)
  }
  writeStruct(struct)
  flush()
  return Buffer.concat(pieces)
}
