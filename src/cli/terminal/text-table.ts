import { printable } from './printable.ts'

const widestCell = 40

/** A table for people: each column as wide as its widest cell, cells over 40 characters shortened. */
export function formatTextTable(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const lines = [header, ...rows.map(row => row.map(cell => shorten(printable(cell))))]
  const widths = header.map((_, column) => Math.max(...lines.map(line => line[column]!.length)))
  const format = (cells: readonly string[]) =>
    cells
      .map((cell, column) => cell.padEnd(widths[column]!))
      .join('  ')
      .trimEnd()
  return [format(header), format(widths.map(width => '-'.repeat(width))), ...lines.slice(1).map(format)].join('\n')
}

function shorten(text: string): string {
  return text.length <= widestCell ? text : `${text.slice(0, widestCell - 1)}…`
}
