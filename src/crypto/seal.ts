import type { AesSiv, BoundAesSiv, OpenedColumn } from './aes-siv.ts'
import { type Binding, encodeBinding } from './associated-data.ts'
import { type ByteColumn, packIds } from './byte-column.ts'

export const originalLabel = 'tokenvault/original/v1'
export const quarantineLabel = 'tokenvault/quarantine/v1'
export const aliasLabel = 'tokenvault/alias/v1'
export const firstIdentityLabel = 'tokenvault/origin/v1'

/**
 * Seals values under one data key, each bound to the identity of the row that holds it: a sealed value moved to
 * another row, field, tenant or key version does not open.
 */
export class Sealer {
  readonly #siv: BoundAesSiv

  constructor(key: AesSiv, binding: Binding) {
    this.#siv = key.bind(encodeBinding(binding))
  }

  /**
   * @param plaintexts n values
   * @param ids the n rows' identities, 32 hexadecimal digits each
   * @returns n sealed values SIV ‖ ciphertext
   */
  seal(plaintexts: ByteColumn, ids: readonly string[]): ByteColumn {
    return this.#siv.encrypt(plaintexts, packIds(ids))
  }

  /** The inverse. Values that are not authentic are told by `authentic[i] === 0` and stand as zeros. */
  open(sealed: ByteColumn, ids: readonly string[]): OpenedColumn {
    return this.#siv.decrypt(sealed, packIds(ids))
  }
}
