import { printable } from './print.ts'

/**
 * A table for people: a header with a rule below it, each column as wide as its widest cell.
 *
 * @param options.indent what every line begins with
 * @param options.widestCell in characters; longer cells are shortened, 40 unless told
 */
export function formatTextTable(
  header: readonly string[],
  rows: readonly (readonly string[])[],
  options: { readonly indent?: string; readonly widestCell?: number } = {},
): string {
  const { indent = '', widestCell = 40 } = options
  const shorten = (text: string) => (text.length <= widestCell ? text : `${text.slice(0, widestCell - 1)}…`)
  const cells = rows.map(row => row.map(cell => shorten(printable(cell))))
  const widths = header.map((name, column) => Math.max(name.length, ...cells.map(row => row[column]!.length)))
  const rule = widths.map(width => '-'.repeat(width))
  return [header, rule, ...cells].map(line => `${indent}${alignCells(line, widths)}`).join('\n')
}

/** Names and what they stand for, one pair a line; every value begins in the same column. */
export function formatPairs(pairs: readonly (readonly [name: string, value: string])[], indent = ''): string {
  const width = Math.max(...pairs.map(([name]) => printable(name).length))
  return pairs
    .map(([name, value]) => `${indent}${alignCells([printable(name), printable(value)], [width, 0])}`)
    .join('\n')
}

function alignCells(cells: readonly string[], widths: readonly number[]): string {
  return cells
    .map((cell, column) => cell.padEnd(widths[column]!))
    .join('  ')
    .trimEnd()
}
