/**
 * What a ciphertext is bound to, as bytes. Each part is preceded by its length, so no two bindings encode alike
 * (`ab`+`c` is not `a`+`bc`), and the label separates formats from one another.
 */
export interface Binding {
  /** Format and its version, e.g. `tokenvault/token/v1`. */
  readonly label: string
  readonly tenant: string
  /** '' where a key serves no single field. */
  readonly field: string
  readonly keyVersion: number
}

/** @returns for each of label, tenant, field and decimal key version: 32-bit big-endian byte length, then UTF-8 */
export function encodeBinding({ label, tenant, field, keyVersion }: Binding): Uint8Array {
  const parts = [label, tenant, field, String(keyVersion)].map(part => Buffer.from(part, 'utf8'))
  return Buffer.concat(
    parts.flatMap(part => {
      const length = Buffer.alloc(4)
      length.writeUInt32BE(part.length)
      return [length, part]
    }),
  )
}
