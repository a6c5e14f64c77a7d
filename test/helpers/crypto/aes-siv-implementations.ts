import { aessiv } from '@noble/ciphers/aes.js'
import { AesSiv } from '../../../src/crypto/aes-siv.ts'
import { packBytes, valueAt } from '../../../src/crypto/byte-column.ts'

/** AES-SIV, one value at a time: what one suite asks of ours and of the oracle. */
export interface AesSivImplementation {
  readonly name: string
  encrypt(key: Uint8Array, associatedData: readonly Uint8Array[], plaintext: Uint8Array): Uint8Array
  /** undefined where it is not authentic */
  decrypt(key: Uint8Array, associatedData: readonly Uint8Array[], encrypted: Uint8Array): Uint8Array | undefined
}

export const ours: AesSivImplementation = {
  name: 'tokenvault',
  encrypt: (key, associatedData, plaintext) =>
    valueAt(new AesSiv(key).bind(...associatedData).encrypt(packBytes([plaintext])), 0),
  decrypt(key, associatedData, encrypted) {
    const { plaintexts, authentic } = new AesSiv(key).bind(...associatedData).decrypt(packBytes([encrypted]))
    return authentic[0] === 1 ? valueAt(plaintexts, 0) : undefined
  },
}

/** The batch path with associated data of each value's own: the last component is given beside the value. */
export const oursWithOwnData: AesSivImplementation = {
  name: 'tokenvault, own associated data',
  encrypt: (key, associatedData, plaintext) => {
    const bound = new AesSiv(key).bind(...associatedData.slice(0, -1))
    return valueAt(bound.encrypt(packBytes([plaintext]), packBytes(associatedData.slice(-1))), 0)
  },
  decrypt(key, associatedData, encrypted) {
    const bound = new AesSiv(key).bind(...associatedData.slice(0, -1))
    const { plaintexts, authentic } = bound.decrypt(packBytes([encrypted]), packBytes(associatedData.slice(-1)))
    return authentic[0] === 1 ? valueAt(plaintexts, 0) : undefined
  },
}

/** The SIV and the ciphertext apart, as tokens use them. */
export const oursDetached: AesSivImplementation = {
  name: 'tokenvault, detached',
  encrypt(key, associatedData, plaintext) {
    const bound = new AesSiv(key).bind(...associatedData)
    const { sivs, ciphertexts } = bound.encryptDetached(packBytes([plaintext]))
    if (!Buffer.from(sivs).equals(bound.sivs(packBytes([plaintext])))) throw new Error('SIVs alone are others')
    return Buffer.concat([sivs, valueAt(ciphertexts, 0)])
  },
  decrypt(key, associatedData, encrypted) {
    // A SIV that is too short has no place in detached columns.
    if (encrypted.length < 16) return undefined
    const column = { sivs: encrypted.subarray(0, 16), ciphertexts: packBytes([encrypted.subarray(16)]) }
    const { plaintexts, authentic } = new AesSiv(key).bind(...associatedData).decryptDetached(column)
    return authentic[0] === 1 ? valueAt(plaintexts, 0) : undefined
  },
}

export const oracle: AesSivImplementation = {
  name: '@noble/ciphers',
  encrypt: (key, associatedData, plaintext) => aessiv(key, ...associatedData).encrypt(plaintext),
  decrypt(key, associatedData, encrypted) {
    try {
      return aessiv(key, ...associatedData).decrypt(encrypted)
    } catch {
      return undefined
    }
  },
}
