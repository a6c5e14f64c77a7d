/** Tokens and the originals from which their values are opened. */

/** 128-bit SIV of a token as 32 lower-case hexadecimal digits. */
export type TokenId = string

/** What is stored for one token. `sealed` is the token key's ciphertext, sealed under the field's data key. */
export interface SealedOriginal {
  readonly tokenId: TokenId
  readonly field: string
  readonly tokenKeyVersion: number
  readonly dataKeyVersion: number
  readonly sealed: Uint8Array
}

/** A value's token, with what must be stored so that it can be given back. */
export interface TokenizedValue {
  readonly token: string
  readonly original: SealedOriginal
}

export interface OriginalReader {
  /** Finds the originals of up to 10,000 token ids; absent ids are absent from the map. @throws `store_unavailable` */
  findOriginals(tokenIds: readonly TokenId[]): Promise<ReadonlyMap<TokenId, SealedOriginal>>
}
