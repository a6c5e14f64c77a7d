import { createHash } from 'node:crypto'
import type { Batch, Value } from './columns.ts'

/**
 * A digest of rows as they were handed over, batch by batch: SHA-256 over the values of each column of each batch. A file has a row
 * group for each batch, so that what is read from it gives the same digest, unless a row was lost, doubled or changed.
 */
export class RowDigest {
  readonly #hash = createHash('sha256')
  rows = 0

  add({ rows, columns }: Batch): void {
    this.#hash.update(`${rows} ${columns.length}\n`)
    for (const values of columns) this.#hash.update(JSON.stringify(plain(values))).update('\n')
    this.rows += rows
  }

  /** 64 hexadecimal digits; it ends the digest. */
  text(): string {
    return this.#hash.digest('hex')
  }
}

/** JSON has no word for these numbers. */
function plain(values: readonly Value[]): readonly Value[] {
  const isPlain = (value: Value) => typeof value !== 'number' || (Number.isFinite(value) && !Object.is(value, -0))
  if (values.every(isPlain)) return values
  return values.map(value => (isPlain(value) ? value : `number ${Object.is(value, -0) ? '-0' : value}`))
}
