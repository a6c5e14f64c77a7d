import { type Cipheriv, createCipheriv, createSecretKey, type KeyObject } from 'node:crypto'
import { TokenvaultError } from '../errors.ts'

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
