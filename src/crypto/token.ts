import { type AesSiv, type BoundAesSiv, sivBytes } from './aes-siv.ts'
import { encodeBinding } from './associated-data.ts'
import { decodeBase64url, encodeBase64url } from './base64url.ts'
import { type ByteColumn, columnLength } from './byte-column.ts'

export const tokenLabel = 'tokenvault/token/v1'

/** Longest token text, as user_logins holds it. */
export const maxTokenLength = 256

/** A token taken apart: `<field>_v<keyVersion>_<base64url(SIV ‖ ciphertext)>`. Nothing in it is authenticated yet. */
export interface ParsedToken {
  readonly field: string
  readonly keyVersion: number
  /** The 128-bit SIV as 32 hexadecimal digits: the token's identity in the vault. */
  readonly id: string
}

export interface MintedTokens {
  readonly tokens: readonly string[]
  /** 32 hexadecimal digits each, in the same order. */
  readonly ids: readonly string[]
}

// A field name never holds `_v<digits>_`, so the first one is the separator.
const tokenShape = /^([a-z][a-z0-9_]{0,31}?)_v([1-9][0-9]{0,8})_([A-Za-z0-9_-]+)$/

/** @returns undefined where the text is not a token: another shape, another length, or base64url that is not canonical */
export function parseToken(text: string): ParsedToken | undefined {
  if (text.length > maxTokenLength) return undefined
  const match = tokenShape.exec(text)
  if (match === null) return undefined
  const payload = decodeBase64url(match[3]!)
  if (payload === undefined || payload.length <= sivBytes) return undefined
  return { field: match[1]!, keyVersion: Number(match[2]), id: hexIds(payload.subarray(0, sivBytes), 1)[0]! }
}

/** Makes the tokens of one field under one key version. */
export class TokenMint {
  readonly #siv: BoundAesSiv
  readonly #prefix: string

  constructor(key: AesSiv, binding: { tenant: string; field: string; keyVersion: number }) {
    this.#siv = key.bind(encodeBinding({ label: tokenLabel, ...binding }))
    this.#prefix = `${binding.field}_v${binding.keyVersion}_`
  }

  /**
   * Equal values give equal tokens, in every process and for ever.
   *
   * @param values n normalized values in UTF-8, none empty
   * @returns n tokens and their ids, in input order
   */
  mint(values: ByteColumn): MintedTokens {
    const encrypted = this.#siv.encrypt(values)
    const count = columnLength(values)
    const sivs = new Uint8Array(count * sivBytes)
    for (let index = 0; index < count; index++) {
      const start = encrypted.offsets[index]!
      for (let byte = 0; byte < sivBytes; byte++) sivs[index * sivBytes + byte] = encrypted.bytes[start + byte]!
    }
    const tokens = encodeBase64url(encrypted)
    for (let index = 0; index < count; index++) tokens[index] = this.#prefix + tokens[index]!
    return { tokens, ids: hexIds(sivs, count) }
  }
}

function hexIds(sivs: Uint8Array, count: number): string[] {
  const hex = Buffer.from(sivs.buffer, sivs.byteOffset, sivs.byteLength).toString('hex')
  const digits = sivBytes * 2
  return Array.from({ length: count }, (_, index) => hex.slice(index * digits, (index + 1) * digits))
}
