/** Tokens and the originals from which their values are opened. */

/** The 16 bytes of a token as 32 lower-case hexadecimal digits: its SIV or, of a typed token, what it is spelled from. */
export type TokenId = string

/** What is stored for one token. `sealed` is the token key's ciphertext, sealed under the field's data key. */
export interface SealedOriginal {
  readonly tokenId: TokenId
  readonly field: string
  readonly tokenKeyVersion: number
  readonly dataKeyVersion: number
  readonly sealed: Uint8Array
  /** Of a typed token: the bits of the SIV that are not in its id. Absent or null of a token that is text. */
  readonly sivRest?: number | null
  /** What is stored with it: earlier tokens of the same value, while they are being replaced. */
  readonly aliases?: readonly TokenAlias[]
  /** Of an original that was found by an earlier token of its value: which one, as the alias says. */
  readonly foundBy?: { readonly tokenKeyVersion: number; readonly proof: Uint8Array }
  /** Of an original that was found by its own token: the one that will stand in its place, as an alias says that nothing has proven. */
  readonly successor?: TokenId | null | undefined
}

/** A token of a token key that is moved away from, and what stands in its place. */
export interface TokenAlias {
  readonly tokenId: TokenId
  readonly field: string
  readonly tokenKeyVersion: number
  readonly oldToken: string
  readonly newToken: string
  readonly successor: TokenId
  /** `tokenId`, sealed under the successor's token key and bound to its id. */
  readonly proof: Uint8Array
}

/** A value's token, with what must be stored so that it can be given back. */
export interface TokenizedValue {
  readonly token: string
  readonly original: SealedOriginal
}

/** Originals that stand in an open transaction, where nobody sees them. One of the two ends it. */
export interface InsertedOriginals {
  /** Keeps them. @throws `store_unavailable`; whether they are stored is not known then, and storing them again is safe */
  commit(): Promise<void>
  /** Leaves nothing behind. Never throws. */
  abandon(): Promise<void>
}

export interface OriginalWriter {
  /**
   * Inserts up to 10,000 originals, in any order and with repeats. One whose token is stored already changes nothing.
   * @throws `store_unavailable`, `store_misconfigured`, `store_refused`; then nothing is open
   */
  insert(originals: readonly SealedOriginal[]): Promise<InsertedOriginals>
}

/** Reads the originals of a whole field, page by page. */
export interface FieldOriginals {
  /**
   * Originals of the field in descending order of token id, under every version of its keys.
   *
   * @param options.before only those of smaller token ids
   * @param options.limit 1 to 10,000
   * @throws `store_unavailable`
   */
  listOriginals(
    field: string,
    options: { readonly before?: TokenId | undefined; readonly limit: number },
  ): Promise<readonly SealedOriginal[]>
}

export interface OriginalReader {
  /**
   * Finds the originals of up to 10,000 token ids; absent ids are absent from the map. The original of an earlier token, which has
   * none of its own any more, is that of its successor, with `foundBy`.
   * @throws `store_unavailable`
   */
  findOriginals(tokenIds: readonly TokenId[]): Promise<ReadonlyMap<TokenId, SealedOriginal>>
  /** Token keys that were retired, as `ip/1`: field and version. @throws `store_unavailable` */
  readRetired(): Promise<ReadonlySet<string>>
}

/** Which tokens stand for one value, over the versions of its field's token key. */
export interface RelatedTokens {
  /** The token's successor, what that is the successor of too, and no others. @throws `store_unavailable` */
  findRelated(field: string, tokenId: TokenId): Promise<readonly string[]>
}
