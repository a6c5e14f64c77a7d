import { createHmac, createSecretKey, hash } from 'node:crypto'

/** How a value is hashed: by SHA-256 (FIPS 180-4) or MD5 (RFC 1321) alone, or by HMAC-SHA-256 (RFC 2104) under a key. */
export type HashScheme =
  | { readonly name: 'sha256' | 'md5' }
  | { readonly name: 'hmac-sha256'; readonly key: Uint8Array }

/** The schemes by name. */
export const hashSchemes = ['sha256', 'md5', 'hmac-sha256'] as const satisfies readonly HashScheme['name'][]

/** @returns hashes a text as UTF-8, and gives lower-case hexadecimal digits */
export function createValueHash(scheme: HashScheme): (text: string) => string {
  if (scheme.name !== 'hmac-sha256') return text => hash(scheme.name, text, 'hex')
  const key = createSecretKey(scheme.key)
  return text => createHmac('sha256', key).update(text, 'utf8').digest('hex')
}
