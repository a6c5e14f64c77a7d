import { buffer } from 'node:stream/consumers'
import type { Cell, ColumnFile, Replacement } from '../../../src/cli/import/column-file.ts'

/** All cells of the column, without the first `skip`. */
export async function readCells(file: ColumnFile, skip = 0): Promise<Cell[]> {
  const found: Cell[] = []
  for await (const cells of file.cells(skip)) found.push(...cells)
  return found
}

/** The bytes of the file with these in the column, row by row. */
export async function rewriteBytes(file: ColumnFile, replacements: readonly Replacement[]): Promise<Buffer> {
  let at = 0
  const take = async (count: number) => {
    at += count
    return replacements.slice(at - count, at)
  }
  return buffer(file.rewrite(take))
}

export async function rewriteWith(file: ColumnFile, replacements: readonly Replacement[]): Promise<string> {
  return (await rewriteBytes(file, replacements)).toString('utf8')
}
