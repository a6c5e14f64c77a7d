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
  const cells = rows.map(row => row.map(cell => shorten(printable(cell), widestCell)))
  const widths = header.map((name, column) => Math.max(name.length, ...cells.map(row => row[column]!.length)))
  const rule = widths.map(width => '-'.repeat(width))
  return [header, rule, ...cells].map(line => `${indent}${alignCells(line, widths)}`).join('\n')
}

/**
 * A table that is no wider than the terminal: where it would be, the widest columns are shortened first, and names of columns
 * before what stands in them.
 *
 * @param options.columns the width to fit
 * @param options.leastOf how many characters of a cell say what it is; a column gets no narrower than that
 */
export function formatFittingTable(
  header: readonly string[],
  rows: readonly (readonly string[])[],
  options: {
    readonly indent: string
    readonly columns: number
    readonly paintHeader: (text: string) => string
    readonly leastOf: (cell: string) => number
  },
): string {
  const { indent, columns, paintHeader, leastOf } = options
  const cells = rows.map(row => row.map(printable))
  const room = columns - indent.length - gap.length * (header.length - 1)
  const least = header.map((_, column) => Math.max(...cells.map(row => leastOf(row[column]!))))
  const widths = fitWidths(header, cells, room, least)
  const align = (line: readonly string[]) => {
    return `${indent}${alignCells(
      line.map((cell, column) => shorten(cell, widths[column]!)),
      widths,
    )}`
  }
  return [paintHeader(align(header)), ...cells.map(align)].join('\n')
}

/** What is left of a column's name at least. */
const leastName = 6

/** Widths of columns that add up to no more than the room there is, or each to its least. */
function fitWidths(
  header: readonly string[],
  rows: readonly (readonly string[])[],
  room: number,
  least: readonly number[],
): number[] {
  const widest = header.map((_, column) => Math.max(...rows.map(row => row[column]!.length)))
  const widths = header.map((name, column) => Math.max(name.length, widest[column]!))
  for (let excess = widths.reduce((sum, width) => sum + width, -room); excess > 0; excess--) {
    const overName = widths.map((width, column) => width - Math.max(leastName, widest[column]!))
    const overLeast = widths.map((width, column) => (width > least[column]! ? width : 0))
    const candidates = Math.max(...overName) > 0 ? overName : overLeast
    const most = Math.max(...candidates)
    if (most <= 0) break
    widths[candidates.indexOf(most)]!--
  }
  return widths
}

function shorten(text: string, width: number): string {
  return text.length <= width ? text : `${text.slice(0, width - 1)}…`
}

/**
 * Names and what they stand for, one pair a line; every value begins in the same column.
 *
 * @param paint colours the names
 */
export function formatPairs(
  pairs: readonly (readonly [name: string, value: string])[],
  indent = '',
  paint: (text: string) => string = text => text,
): string {
  const width = Math.max(...pairs.map(([name]) => printable(name).length))
  return pairs
    .map(([name, value]) =>
      `${indent}${name === '' ? ' '.repeat(width) : paint(printable(name).padEnd(width))}${gap}${printable(value)}`.trimEnd(),
    )
    .join('\n')
}

const gap = '  '

function alignCells(cells: readonly string[], widths: readonly number[]): string {
  return cells
    .map((cell, column) => cell.padEnd(widths[column]!))
    .join(gap)
    .trimEnd()
}
