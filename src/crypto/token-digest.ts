import { asBytes, blockBytes, Cmac } from './aes-cmac.ts'
import { encodeBase64url } from './base64url.ts'
import { equalOffsets, packText } from './byte-column.ts'

/** Audit keys are AES-256 keys. */
export const auditKeyBytes = 32

/**
 * Keyed digests by which audit events name tokens: AES-256-CMAC (RFC 4493) of the token's text. Without the audit key
 * nobody can tell which token an event is about, and with it one can ask for every event about a token.
 */
export class TokenDigest {
  readonly #cmac: Cmac

  /** @param key 32 bytes. @throws TokenvaultError `key_length_invalid` */
  constructor(key: Uint8Array) {
    this.#cmac = new Cmac(key)
  }

  /** @returns 22 letters of base64url a token (16 bytes), in input order */
  digest(tokens: readonly string[]): string[] {
    const bytes = asBytes(this.#cmac.mac(packText(tokens)))
    return encodeBase64url({ bytes, offsets: equalOffsets(tokens.length, blockBytes) })
  }
}
