import { type AesSiv, type BoundAesSiv, type OpenedColumn, sivBytes } from './aes-siv.ts'
import { encodeBinding } from './associated-data.ts'
import { decodeBase64url, encodeBase64url } from './base64url.ts'
import { type ByteColumn, equalOffsets, packIds } from './byte-column.ts'
import { putRests, spellTyped, type TokenSpelling, type TypedFormat, takeRests } from './typed-token.ts'

export const tokenLabel = 'tokenvault/token/v1'

/** A token taken apart: `<field>_v<keyVersion>_<base64url(SIV)>`. Nothing in it is authenticated yet. */
export interface ParsedToken {
  readonly field: string
  readonly keyVersion: number
  /** The 128-bit SIV as 32 hexadecimal digits: the token's identity in the vault. */
  readonly id: string
}

/** n tokens in input order, with what the vault keeps so that their values can be given back. */
export interface DetachedTokens {
  readonly tokens: readonly string[]
  /** 32 hexadecimal digits each: the SIV or, of a typed token, its own bytes. */
  readonly ids: readonly string[]
  /** Of typed tokens: the bits of each SIV that are not in its id. */
  readonly rests?: readonly number[]
  /** Without the token key, or without these, nobody can tell a value. */
  readonly ciphertexts: ByteColumn
}

// A field name never holds `_v<digits>_`, so the first one is the separator. 22 letters hold 16 bytes and four bits that are zero.
const tokenShape = /^([a-z][a-z0-9_]{0,31}?)_v([1-9][0-9]{0,8})_([A-Za-z0-9_-]{21}[AQgw])$/

/** Longest token text: field, version and 22 letters. */
export const maxTokenLength = 32 + '_v'.length + 9 + '_'.length + 22

/** @returns undefined where the text is not a token: another shape, another length, or base64url that is not canonical */
export function parseToken(text: string): ParsedToken | undefined {
  if (text.length > maxTokenLength) return undefined
  const match = tokenShape.exec(text)
  if (match === null) return undefined
  const siv = decodeBase64url(match[3]!)
  return siv && { field: match[1]!, keyVersion: Number(match[2]), id: hexIds(siv, 1)[0]! }
}

/**
 * The token key of one field under one version: AES-SIV (RFC 5297) with the ciphertext detached. The SIV is the token; the
 * ciphertext goes into the vault. So a token says nothing but equality, and opens only together with the vault's row.
 */
export class TokenKey {
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
   * @param spelling of the field, which has one for ever
   */
  tokenize(values: ByteColumn, spelling: TokenSpelling): DetachedTokens {
    const { sivs, ciphertexts } = this.#siv.encryptDetached(values)
    const { tokens, ...rests } = this.#spell(sivs, spelling)
    return { tokens, ids: hexIds(sivs, sivs.length / sivBytes), ...rests, ciphertexts }
  }

  /** The tokens alone, for looking values up. */
  tokensOf(values: ByteColumn, spelling: TokenSpelling): string[] {
    return this.#spell(this.#siv.sivs(values), spelling).tokens
  }

  /**
   * Gives values back, and proves that each belongs to its token.
   *
   * @param ids the n tokens' ids, 32 hexadecimal digits each
   * @param ciphertexts as tokenize gave them
   * @param typed of typed tokens: what tokenize gave beside their ids
   */
  open(
    ids: readonly string[],
    ciphertexts: ByteColumn,
    typed?: { readonly format: TypedFormat; readonly rests: readonly (number | null | undefined)[] },
  ): OpenedColumn {
    const sivs = packIds(ids).bytes
    if (typed !== undefined) putRests(sivs, typed.format, typed.rests)
    return this.#siv.decryptDetached({ sivs, ciphertexts })
  }

  /**
   * The tokens that ids belong to, for who has the vault's rows and no text. Nothing is proven by that: `open` does.
   *
   * @param ids 32 hexadecimal digits each
   * @param spelling of the field
   */
  tokensOfIds(ids: readonly string[], { format }: TokenSpelling): string[] {
    const bytes = packIds(ids).bytes
    return format === 'text' ? this.#spellText(bytes) : spellTyped(bytes, format)
  }

  /** Of a typed format, SIVs become the bytes of tokens, in place. */
  #spell(sivs: Uint8Array, { format, inetPrefix }: TokenSpelling): { tokens: string[]; rests?: number[] } {
    if (format === 'text') return { tokens: this.#spellText(sivs) }
    const rests = takeRests(sivs, format, inetPrefix)
    return { tokens: spellTyped(sivs, format), rests }
  }

  #spellText(sivs: Uint8Array): string[] {
    const texts = encodeBase64url({ bytes: sivs, offsets: equalOffsets(sivs.length / sivBytes, sivBytes) })
    for (let index = 0; index < texts.length; index++) texts[index] = this.#prefix + texts[index]!
    return texts
  }
}

function hexIds(sivs: Uint8Array, count: number): string[] {
  const hex = Buffer.from(sivs.buffer, sivs.byteOffset, sivs.byteLength).toString('hex')
  const digits = sivBytes * 2
  return Array.from({ length: count }, (_, index) => hex.slice(index * digits, (index + 1) * digits))
}
