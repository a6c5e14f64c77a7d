import { TokenvaultError } from '../../errors.ts'

/** A cell of the column that is imported. */
export interface Cell {
  /** Undefined where there is nothing: an empty cell, null, a member that is absent. */
  readonly text: string | undefined
  /** Where a person finds it, from 1: its line, or in Parquet its row. */
  readonly place: number
}

/** What stands in a cell's place: this token, nothing (null), or what stands there now (undefined). */
export type Replacement = string | null | undefined

/** Gives replacements in the order of rows. @returns exactly as many as asked for */
export type TakeReplacements = (count: number) => Promise<readonly Replacement[]>

/** Any cell of a file, as a reader finds it that shares no code with the one that writes. */
export interface AnyCell {
  readonly text: string
  /** From 1, without the header. */
  readonly row: number
  readonly column: string
}

/** A file with the column, in one of the formats. Each method reads the file anew, and needs memory for a part of it. */
export interface ColumnFile {
  readonly placeName: 'line' | 'row'
  /** Reads all of the structure. @returns how many rows there are @throws TokenvaultError `import_file_invalid` */
  check(): Promise<number>
  /** The cells of the column, in order, without the first `skip`. */
  cells(skip: number): AsyncIterable<readonly Cell[]>
  /** The bytes of the file with other cells in the column, and everything else as it was. */
  rewrite(take: TakeReplacements): AsyncIterable<Uint8Array>
  /** @returns where the other file differs in something that is not of the column; undefined where it does not */
  compareRest(other: ColumnFile): Promise<string | undefined>
  /** Every cell of every column. */
  everyCell(): AsyncIterable<readonly AnyCell[]>
}

/** @param problem names places, and nothing that stands there */
export function fileInvalid(problem: string): TokenvaultError {
  return new TokenvaultError('import_file_invalid', problem)
}
