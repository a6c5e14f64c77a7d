import { type Cipheriv, createCipheriv, createSecretKey, type KeyObject } from 'node:crypto'
import { TokenvaultError } from '../errors.ts'
import { type ByteColumn, columnLength } from './byte-column.ts'

export const blockBytes = 16
export const blockWords = 4

/** AES itself (FIPS 197): independent blocks, many per native call. Not a mode to encrypt anything with. */
export class AesBlock {
  readonly #key: KeyObject
  readonly #bits: number
  readonly #cipher: Cipheriv

  /** @param key 16, 24 or 32 bytes */
  constructor(key: Uint8Array) {
    if (![16, 24, 32].includes(key.length)) throw new TokenvaultError('key_length_invalid')
    this.#bits = key.length * 8
    this.#key = createSecretKey(key)
    // ECB carries no state from block to block, so one cipher serves every call and pays its set-up once.
    this.#cipher = createCipheriv(`aes-${this.#bits}-ecb`, this.#key, null).setAutoPadding(false)
  }

  /** Encrypts whole blocks, four words each. */
  encrypt(blocks: Int32Array): Int32Array {
    return asWords(this.#cipher.update(asBytes(blocks)))
  }

  /** The last block of CBC with a zero IV: a CMAC chain over many blocks in one native call. */
  cbcMac(blocks: Int32Array): Int32Array {
    const cipher = createCipheriv(`aes-${this.#bits}-cbc`, this.#key, Buffer.alloc(blockBytes)).setAutoPadding(false)
    const encrypted = cipher.update(asBytes(blocks))
    return asWords(encrypted.subarray(encrypted.length - blockBytes))
  }
}

/** Messages in whole zero-filled blocks: message i has blocks starts[i] up to starts[i + 1], at least one. */
export interface BlockLayout {
  readonly words: Int32Array
  readonly bytes: Uint8Array
  readonly starts: Uint32Array
}

/** Past this many blocks one CBC call a message beats one ECB call a round for everybody. */
const longMessageBlocks = 12

/** AES-CMAC (RFC 4493) over many messages: each round encrypts one block of every message in one native call. */
export class Cmac {
  readonly #aes: AesBlock
  readonly #completeSubkey: Int32Array
  readonly #paddedSubkey: Int32Array

  /** @param key 16, 24 or 32 bytes. @throws TokenvaultError `key_length_invalid` */
  constructor(key: Uint8Array) {
    this.#aes = new AesBlock(key)
    this.#completeSubkey = doubled(this.#aes.encrypt(new Int32Array(blockWords)))
    this.#paddedSubkey = doubled(this.#completeSubkey)
  }

  /**
   * @param messages any number of any lengths, empty ones too
   * @returns their tags, four words each, one after the other
   */
  mac(messages: ByteColumn): Int32Array {
    const layout = layOut(messages)
    for (let index = 0; index < columnLength(messages); index++) {
      this.closeLastBlock(layout, index, messages.offsets[index + 1]! - messages.offsets[index]!)
    }
    return this.chain(layout)
  }

  /** Pads where needed and mixes the subkey into the last block of message `index` (RFC 4493, 2.4, steps 4 and 5). */
  closeLastBlock({ words, bytes, starts }: BlockLayout, index: number, length: number): void {
    const complete = length > 0 && length % blockBytes === 0
    if (!complete) bytes[starts[index]! * blockBytes + length] = 0x80
    xorBlock(words, starts[index + 1]! - 1, complete ? this.#completeSubkey : this.#paddedSubkey, 0)
  }

  /** As closeLastBlock, for a message that is exactly one block. */
  closeOnlyBlock({ words, starts }: BlockLayout, index: number): void {
    xorBlock(words, starts[index]!, this.#completeSubkey, 0)
  }

  /** The CBC-MAC chain of every message whose last block is closed. */
  chain({ words, starts }: BlockLayout): Int32Array {
    const count = starts.length - 1
    if (starts[count] === count) return this.#aes.encrypt(words)
    const tags = new Int32Array(count * blockWords)
    let active = 0
    const order = new Uint32Array(count)
    for (let index = 0; index < count; index++) {
      const blocks = words.subarray(starts[index]! * blockWords, starts[index + 1]! * blockWords)
      if (blocks.length > longMessageBlocks * blockWords) tags.set(this.#aes.cbcMac(blocks), index * blockWords)
      else order[active++] = index
    }
    const gathered = new Int32Array(active * blockWords)
    for (let round = 0; active > 0; round++) {
      const last = active
      active = 0
      for (let place = 0; place < last; place++) {
        const index = order[place]!
        const block = starts[index]! + round
        if (block >= starts[index + 1]!) continue
        for (let word = 0; word < blockWords; word++) {
          gathered[active * blockWords + word] = words[block * blockWords + word]! ^ tags[index * blockWords + word]!
        }
        order[active++] = index
      }
      if (active === 0) break
      const encrypted = this.#aes.encrypt(gathered.subarray(0, active * blockWords))
      for (let place = 0; place < active; place++) {
        for (let word = 0; word < blockWords; word++) {
          tags[order[place]! * blockWords + word] = encrypted[place * blockWords + word]!
        }
      }
    }
    return tags
  }
}

/** Copies each message into whole blocks of its own, an empty one into one block; the rest of its last block is zero. */
export function layOut({ bytes: source, offsets }: ByteColumn): BlockLayout {
  const count = offsets.length - 1
  const starts = new Uint32Array(count + 1)
  for (let index = 0; index < count; index++) {
    const length = offsets[index + 1]! - offsets[index]!
    starts[index + 1] = starts[index]! + (length <= blockBytes ? 1 : Math.ceil(length / blockBytes))
  }
  const words = new Int32Array(starts[count]! * blockWords)
  const bytes = asBytes(words)
  for (let index = 0; index < count; index++) {
    const end = offsets[index + 1]!
    for (let from = offsets[index]!, to = starts[index]! * blockBytes; from < end; from++, to++)
      bytes[to] = source[from]!
  }
  return { words, bytes, starts }
}

/** words[block] ^= mask[maskBlock], in blocks of four words. */
export function xorBlock(words: Int32Array, block: number, mask: Int32Array, maskBlock: number): void {
  for (let word = 0; word < blockWords; word++) {
    words[block * blockWords + word] = words[block * blockWords + word]! ^ mask[maskBlock * blockWords + word]!
  }
}

/** Doubling in GF(2^128), every block on its own: shift left by one bit, and reduce by x^7 + x^2 + x + 1 (RFC 5297, 2.3). */
export function doubled(blocks: Int32Array): Int32Array {
  const result = blocks.slice()
  const bytes = asBytes(result)
  for (let start = 0; start < bytes.length; start += blockBytes) {
    const carry = bytes[start]! >> 7
    for (let place = start; place < start + 15; place++) bytes[place] = (bytes[place]! << 1) | (bytes[place + 1]! >> 7)
    // Without a branch on key material.
    bytes[start + 15] = (bytes[start + 15]! << 1) ^ (0x87 & -carry)
  }
  return result
}

/** The same memory as bytes. */
export function asBytes(words: Int32Array): Uint8Array {
  return new Uint8Array(words.buffer, words.byteOffset, words.byteLength)
}

function asWords(bytes: Uint8Array): Int32Array {
  // Buffers may come from a pool at any offset; a view needs a multiple of four.
  // Not slice(): a Buffer's is another view.
  const aligned = bytes.byteOffset % 4 === 0 ? bytes : new Uint8Array(bytes)
  return new Int32Array(aligned.buffer, aligned.byteOffset, aligned.byteLength / 4)
}
