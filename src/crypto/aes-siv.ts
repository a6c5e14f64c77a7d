import { TokenvaultError } from '../errors.ts'
import { AesBlock, asBytes, blockBytes, blockWords, Cmac, doubled, layOut, xorBlock } from './aes-cmac.ts'
import { type ByteColumn, columnLength, packBytes } from './byte-column.ts'

/** 512 bits: shorter AES-SIV keys fall to attacks on many users at once. */
export const sivKeyBytes = 64
export const sivBytes = blockBytes

/** SIVs and ciphertexts of n values apart from each other, in input order. */
export interface DetachedColumn {
  /** 16 bytes for each value. */
  readonly sivs: Uint8Array
  readonly ciphertexts: ByteColumn
}

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
    const encrypted = this.#applyKeystream(sivs, plaintexts, { skipped: 0, left: sivBytes })
    const sivsAsBytes = asBytes(sivs)
    for (let index = 0, from = 0; index < columnLength(plaintexts); index++) {
      const start = encrypted.offsets[index]!
      for (let to = start; to < start + sivBytes; to++) encrypted.bytes[to] = sivsAsBytes[from++]!
    }
    return encrypted
  }

  /** As encrypt, with the SIVs apart from the ciphertexts, each of which is as long as its plaintext. */
  encryptDetached(plaintexts: ByteColumn, ownAssociatedData?: ByteColumn): DetachedColumn {
    const sivs = this.#s2v(plaintexts, ownAssociatedData)
    return { sivs: asBytes(sivs), ciphertexts: this.#applyKeystream(sivs, plaintexts, { skipped: 0, left: 0 }) }
  }

  /** The SIVs of encryptDetached alone: what says whether two values are equal, without the work of encrypting them. */
  sivs(plaintexts: ByteColumn, ownAssociatedData?: ByteColumn): Uint8Array {
    return asBytes(this.#s2v(plaintexts, ownAssociatedData))
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
    for (let index = 0; index < count; index++) {
      const start = encrypted.offsets[index]!
      const length = Math.min(sivBytes, encrypted.offsets[index + 1]! - start)
      for (let byte = 0; byte < length; byte++) sivsAsBytes[index * sivBytes + byte] = encrypted.bytes[start + byte]!
    }
    const plaintexts = this.#applyKeystream(sivs, encrypted, { skipped: sivBytes, left: 0 })
    const opened = this.#authenticate(sivs, plaintexts, ownAssociatedData)
    // Less than a SIV is never authentic, not even where the bytes that are missing would have been zeros.
    for (let index = 0; index < count; index++)
      if (encrypted.offsets[index + 1]! - encrypted.offsets[index]! < sivBytes) opened.authentic[index] = 0
    return opened
  }

  /** The inverse of encryptDetached; otherwise as decrypt. @param sivs 16 bytes for each of the ciphertexts */
  decryptDetached({ sivs, ciphertexts }: DetachedColumn, ownAssociatedData?: ByteColumn): OpenedColumn {
    if (sivs.length !== columnLength(ciphertexts) * sivBytes) throw new RangeError('columns differ in length')
    // A copy, since words need an alignment that a view of someone's bytes may not have.
    const words = new Int32Array(sivs.length / 4)
    asBytes(words).set(sivs)
    const plaintexts = this.#applyKeystream(words, ciphertexts, { skipped: 0, left: 0 })
    return this.#authenticate(words, plaintexts, ownAssociatedData)
  }

  /** Compares SIVs with those of the plaintexts, and clears the plaintexts where they differ. */
  #authenticate(sivs: Int32Array, plaintexts: ByteColumn, ownAssociatedData: ByteColumn | undefined): OpenedColumn {
    const expected = this.#s2v(plaintexts, ownAssociatedData)
    const authentic = new Uint8Array(columnLength(plaintexts))
    for (let index = 0; index < authentic.length; index++) {
      // Every word is compared whatever the earlier ones say, so that time tells nothing of where they differ.
      let difference = 0
      for (let word = index * blockWords; word < (index + 1) * blockWords; word++) {
        difference |= expected[word]! ^ sivs[word]!
      }
      if (difference === 0) authentic[index] = 1
      else plaintexts.bytes.fill(0, plaintexts.offsets[index], plaintexts.offsets[index + 1])
    }
    return { plaintexts, authentic }
  }

  /**
   * Values xor the keystream of their SIVs (RFC 5297, 2.5), which encrypts as it decrypts.
   *
   * @param skipped bytes at the start of each value that are not read
   * @param left bytes before each result that are left free
   */
  #applyKeystream(
    sivs: Int32Array,
    values: ByteColumn,
    { skipped, left }: { skipped: number; left: number },
  ): ByteColumn {
    const count = columnLength(values)
    const starts = new Uint32Array(count + 1)
    const offsets = new Uint32Array(count + 1)
    for (let index = 0; index < count; index++) {
      const length = Math.max(0, values.offsets[index + 1]! - values.offsets[index]! - skipped)
      starts[index + 1] = starts[index]! + Math.ceil(length / blockBytes)
      offsets[index + 1] = offsets[index]! + left + length
    }
    const keystream = this.#keystream(sivs, starts)
    const bytes = new Uint8Array(offsets[count]!)
    for (let index = 0; index < count; index++) {
      let mask = starts[index]! * blockBytes
      let from = values.offsets[index]! + skipped
      const end = offsets[index + 1]!
      for (let to = offsets[index]! + left; to < end; to++) bytes[to] = values.bytes[from++]! ^ keystream[mask++]!
    }
    return { bytes, offsets }
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

  /** Keystream of every value from its SIV, value i from block starts[i] on to starts[i + 1]. */
  #keystream(sivs: Int32Array, starts: Uint32Array): Uint8Array {
    const count = starts.length - 1
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
    return asBytes(this.#ctr.encrypt(counters))
  }
}
