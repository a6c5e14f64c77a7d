import { TokenvaultError } from '../errors.ts'
import { AesBlock, asBytes, blockBytes, blockWords, Cmac, doubled, layOut, xorBlock } from './aes-cmac.ts'
import { type ByteColumn, columnLength, packBytes } from './byte-column.ts'

/** 512 bits: shorter AES-SIV keys fall to attacks on many users at once. */
export const sivKeyBytes = 64
export const sivBytes = blockBytes

/** Plaintexts in input order; where `authentic[i]` is 0 the value did not open and stands as zeros. */
export interface OpenedColumn {
  readonly plaintexts: ByteColumn
  readonly authentic: Uint8Array
}

/**
 * Deterministic authenticated encryption AES-SIV (RFC 5297) with a 512-bit key, on batches: one native call a CMAC
 * round and one for the whole keystream, so the cost of a call is shared by the batch. A batch of one is a value.
 *
 * @param key 64 bytes: the CMAC key, then the CTR key
 * @throws TokenvaultError `key_length_invalid` for any other length
 */
export function createAesSiv(key: Uint8Array): AesSiv {
  if (key.length !== sivKeyBytes) throw new TokenvaultError('key_length_invalid')
  return new AesSiv(key)
}

/** The construction for every key length of the RFC. Only the published vectors use the shorter ones; see createAesSiv. */
export class AesSiv {
  readonly #cmac: Cmac
  readonly #ctr: AesBlock

  constructor(key: Uint8Array) {
    this.#cmac = new Cmac(key.subarray(0, key.length / 2))
    this.#ctr = new AesBlock(key.subarray(key.length / 2))
  }

  /** Binds associated data that is the same for every value, so that it is authenticated once and not once a value. */
  bind(...associatedData: readonly Uint8Array[]): BoundAesSiv {
    let accumulated = this.#cmac.mac(packBytes([new Uint8Array(blockBytes)]))
    const tags = this.#cmac.mac(packBytes(associatedData))
    for (let index = 0; index < associatedData.length; index++) {
      accumulated = doubled(accumulated)
      xorBlock(accumulated, 0, tags, index)
    }
    return new BoundAesSiv(this.#cmac, this.#ctr, accumulated)
  }
}

/** AES-SIV under one key and a prefix of associated data. */
export class BoundAesSiv {
  readonly #cmac: Cmac
  readonly #ctr: AesBlock
  /** S2V's D after the bound associated data. */
  readonly #accumulated: Int32Array

  constructor(cmac: Cmac, ctr: AesBlock, accumulated: Int32Array) {
    this.#cmac = cmac
    this.#ctr = ctr
    this.#accumulated = accumulated
  }

  /**
   * @param plaintexts n values of any length
   * @param ownAssociatedData n values, each authenticated with its plaintext after the bound associated data
   * @returns n values SIV ‖ ciphertext, each 16 bytes longer than its plaintext
   */
  encrypt(plaintexts: ByteColumn, ownAssociatedData?: ByteColumn): ByteColumn {
    const sivs = this.#s2v(plaintexts, ownAssociatedData)
    const sivsAsBytes = asBytes(sivs)
    const { keystream, starts } = this.#keystream(sivs, plaintexts)
    const count = columnLength(plaintexts)
    const bytes = new Uint8Array(plaintexts.offsets[count]! + count * sivBytes)
    const offsets = new Uint32Array(count + 1)
    let to = 0
    for (let index = 0; index < count; index++) {
      for (let byte = index * sivBytes; byte < (index + 1) * sivBytes; byte++) bytes[to++] = sivsAsBytes[byte]!
      const end = plaintexts.offsets[index + 1]!
      let mask = starts[index]! * blockBytes
      for (let from = plaintexts.offsets[index]!; from < end; from++) {
        bytes[to++] = plaintexts.bytes[from]! ^ keystream[mask++]!
      }
      offsets[index + 1] = to
    }
    return { bytes, offsets }
  }

  /**
   * The inverse of encrypt. A value that is too short, was changed, or was encrypted under another key or other
   * associated data is not authentic; which of these it was cannot be told.
   *
   * @param encrypted n values SIV ‖ ciphertext
   * @param ownAssociatedData as given to encrypt
   */
  decrypt(encrypted: ByteColumn, ownAssociatedData?: ByteColumn): OpenedColumn {
    const count = columnLength(encrypted)
    const sivs = new Int32Array(count * blockWords)
    const sivsAsBytes = asBytes(sivs)
    const offsets = new Uint32Array(count + 1)
    for (let index = 0; index < count; index++) {
      const start = encrypted.offsets[index]!
      const length = encrypted.offsets[index + 1]! - start
      offsets[index + 1] = offsets[index]! + Math.max(0, length - sivBytes)
      for (let byte = 0; byte < Math.min(sivBytes, length); byte++) {
        sivsAsBytes[index * sivBytes + byte] = encrypted.bytes[start + byte]!
      }
    }
    const bytes = new Uint8Array(offsets[count]!)
    const plaintexts: ByteColumn = { bytes, offsets }
    const { keystream, starts } = this.#keystream(sivs, plaintexts)
    for (let index = 0; index < count; index++) {
      let mask = starts[index]! * blockBytes
      let from = encrypted.offsets[index]! + sivBytes
      const end = offsets[index + 1]!
      for (let to = offsets[index]!; to < end; to++) bytes[to] = encrypted.bytes[from++]! ^ keystream[mask++]!
    }
    const expected = asBytes(this.#s2v(plaintexts, ownAssociatedData))
    const authentic = new Uint8Array(count)
    for (let index = 0; index < count; index++) {
      // Every byte is compared whatever the earlier ones say, so that time tells nothing of where they differ.
      let difference = encrypted.offsets[index + 1]! - encrypted.offsets[index]! < sivBytes ? 1 : 0
      for (let byte = index * sivBytes; byte < (index + 1) * sivBytes; byte++) {
        difference |= expected[byte]! ^ sivsAsBytes[byte]!
      }
      if (difference === 0) authentic[index] = 1
      else bytes.fill(0, offsets[index], offsets[index + 1])
    }
    return { plaintexts, authentic }
  }

  /** S2V (RFC 5297, 2.4), continued from the bound associated data. */
  #s2v(plaintexts: ByteColumn, ownAssociatedData: ByteColumn | undefined): Int32Array {
    let accumulated = this.#accumulated
    if (ownAssociatedData !== undefined) {
      // A value without associated data of its own would be bound to nothing, and nobody would notice.
      if (columnLength(ownAssociatedData) !== columnLength(plaintexts)) throw new RangeError('columns differ in length')
      const shared = doubled(accumulated)
      accumulated = this.#cmac.mac(ownAssociatedData)
      for (let index = 0; index < columnLength(ownAssociatedData); index++) xorBlock(accumulated, index, shared, 0)
    }
    const own = ownAssociatedData === undefined ? 0 : 1
    const shortMasks = doubled(accumulated)
    const longMasks = asBytes(accumulated)
    const layout = layOut(plaintexts)
    const { words, bytes, starts } = layout
    for (let index = 0; index < columnLength(plaintexts); index++) {
      const length = plaintexts.offsets[index + 1]! - plaintexts.offsets[index]!
      const start = starts[index]! * blockBytes
      if (length < blockBytes) {
        bytes[start + length] = 0x80
        xorBlock(words, starts[index]!, shortMasks, own * index)
        this.#cmac.closeOnlyBlock(layout, index)
      } else {
        // xorend: the mask covers the last 16 bytes, which need not be a block.
        const end = start + length - blockBytes
        for (let byte = 0; byte < blockBytes; byte++) {
          bytes[end + byte] = bytes[end + byte]! ^ longMasks[own * index * blockBytes + byte]!
        }
        this.#cmac.closeLastBlock(layout, index, length)
      }
    }
    return this.#cmac.chain(layout)
  }

  /** CTR keystream of every value from its SIV (RFC 5297, 2.5), value i from block starts[i] on. */
  #keystream(sivs: Int32Array, { offsets }: ByteColumn): { keystream: Uint8Array; starts: Uint32Array } {
    const count = offsets.length - 1
    const starts = new Uint32Array(count + 1)
    for (let index = 0; index < count; index++) {
      starts[index + 1] = starts[index]! + Math.ceil((offsets[index + 1]! - offsets[index]!) / blockBytes)
    }
    const counters = new Int32Array(starts[count]! * blockWords)
    const view = new DataView(counters.buffer)
    for (let index = 0; index < count; index++) {
      const first = starts[index]!
      for (let block = first; block < starts[index + 1]!; block++) {
        const place = block * blockBytes
        for (let word = 0; word < blockWords; word++)
          counters[block * blockWords + word] = sivs[index * blockWords + word]!
        // Bits 31 and 63 are cleared, so that adding the block's number never carries past 31 bits.
        view.setUint8(place + 8, view.getUint8(place + 8) & 0x7f)
        view.setUint32(place + 12, (view.getUint32(place + 12) & 0x7fffffff) + (block - first))
      }
    }
    return { keystream: asBytes(this.#ctr.encrypt(counters)), starts }
  }
}
