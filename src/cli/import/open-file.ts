import { realpathSync, statSync } from 'node:fs'
import { basename, dirname, extname, join, resolve } from 'node:path'
import { TokenvaultError } from '../../errors.ts'
import { describeUnreadable } from '../terminal/failure.ts'
import type { ColumnFile } from './column-file.ts'
import { openCsv } from './csv.ts'
import { openJsonl } from './jsonl.ts'
import { openParquet } from './parquet.ts'

export const formats = ['csv', 'jsonl', 'parquet'] as const
export type Format = (typeof formats)[number]

const extensions: ReadonlyMap<string, Format> = new Map([
  ['.csv', 'csv'],
  ['.tsv', 'csv'],
  ['.jsonl', 'jsonl'],
  ['.ndjson', 'jsonl'],
  ['.parquet', 'parquet'],
])

export interface FileOptions {
  readonly column: string
  readonly format?: Format
  readonly delimiter?: string
}

/** A file, and how to open another of the same format and column, whatever its name says. */
export interface OpenedFile extends ColumnFile {
  openSame(path: string): ColumnFile
}

/**
 * A file in the format that --format or its name says.
 *
 * @throws TokenvaultError `usage` for a name that says nothing; `import_file_invalid` where there is no such file
 */
export function openFile(path: string, { column, format, delimiter }: FileOptions): OpenedFile {
  const extension = extname(path).toLowerCase()
  const found = format ?? extensions.get(extension)
  if (found === undefined)
    throw new TokenvaultError('usage', `the name of the file says no format; give --format ${formats.join(', ')}`)
  if (delimiter !== undefined && found !== 'csv') throw new TokenvaultError('usage', '--delimiter is for CSV files')
  const separator = delimiter ?? (extension === '.tsv' ? '\t' : ',')
  const open = (path: string): ColumnFile => {
    if (found === 'csv') return openCsv(path, column, separator)
    return found === 'jsonl' ? openJsonl(path, column) : openParquet(path, column)
  }
  return { ...open(path), openSame: open }
}

/**
 * Where the input is and where its result goes, as absolute paths without links.
 *
 * @throws TokenvaultError `import_file_invalid` for an input that is no file; `usage` for a result that cannot be one
 */
export function findPlaces(input: string, out: string | undefined): { readonly input: string; readonly out?: string } {
  const found = attempt(() => realpathSync(input), 'the file', 'import_file_invalid')
  if (!statSync(found).isFile()) throw new TokenvaultError('import_file_invalid', 'the file is not a regular file')
  if (out === undefined) return { input: found }
  const folder = attempt(() => realpathSync(dirname(resolve(out))), 'the folder of --out', 'usage')
  const place = join(folder, basename(resolve(out)))
  const present = statSync(place, { throwIfNoEntry: false })
  if (present !== undefined && !present.isFile()) throw new TokenvaultError('usage', '--out is not a regular file')
  const target = present === undefined ? place : realpathSync(place)
  if (target === found || isSameFile(target, found)) throw new TokenvaultError('usage', '--out is the input itself')
  return { input: found, out: target }
}

/** Two names of one file, by a hard link. */
function isSameFile(one: string, two: string): boolean {
  const [a, b] = [one, two].map(path => statSync(path, { bigint: true, throwIfNoEntry: false }))
  return a !== undefined && b !== undefined && a.ino === b.ino && a.dev === b.dev
}

function attempt<T>(run: () => T, what: string, code: 'import_file_invalid' | 'usage'): T {
  try {
    return run()
  } catch (cause) {
    throw new TokenvaultError(code, `${what} ${describeUnreadable(cause)}`, { cause })
  }
}
