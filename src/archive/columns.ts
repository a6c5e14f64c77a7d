import type { SchemaElement } from 'hyparquet'
import { TokenvaultError } from '../errors.ts'

/** How the values of a column stand in a Parquet file. What is none of these stands there as text. */
export type ColumnKind = 'string' | 'integer' | 'bigint' | 'double' | 'boolean' | 'date'

/** A column of a table, as the manifest records it. */
export interface Column {
  readonly name: string
  /** As Postgres writes the type. */
  readonly type: string
}

/** A value of a row: days as YYYY-MM-DD, big numbers and all other types as text. */
export type Value = string | number | boolean | null

/** Rows by column, in the order of the columns: as many values in each as there are rows. */
export interface Batch {
  readonly rows: number
  readonly columns: readonly (readonly Value[])[]
}

const kinds: ReadonlyMap<string, ColumnKind> = new Map([
  ['integer', 'integer'],
  ['smallint', 'integer'],
  ['bigint', 'bigint'],
  ['double precision', 'double'],
  ['boolean', 'boolean'],
  ['date', 'date'],
])

export function kindOf({ type }: Column): ColumnKind {
  return kinds.get(type) ?? 'string'
}

export function schemaOf(columns: readonly Column[]): SchemaElement[] {
  const types: Readonly<Record<ColumnKind, Partial<SchemaElement>>> = {
    string: { type: 'BYTE_ARRAY', converted_type: 'UTF8' },
    integer: { type: 'INT32' },
    bigint: { type: 'INT64' },
    double: { type: 'DOUBLE' },
    boolean: { type: 'BOOLEAN' },
    date: { type: 'INT32', converted_type: 'DATE' },
  }
  return [
    { name: 'root', num_children: columns.length },
    ...columns.map(column => {
      return { name: column.name, repetition_type: 'OPTIONAL' as const, ...types[kindOf(column)] }
    }),
  ]
}

/** For the writer, which takes days as numbers from 1970 on and 64-bit numbers as bigint. */
export function toParquet(kind: ColumnKind, values: readonly Value[]): readonly unknown[] {
  if (kind === 'bigint') return values.map(value => (value === null ? null : BigInt(value)))
  return kind === 'date' ? values.map(value => (value === null ? null : dayNumber(value as string))) : values
}

/** A column has few days, and a Date costs more than all else. */
const dayNumbers = new Map<string, number>()
const days = new Map<number, string>()
const keptDays = 10_000

function dayNumber(day: string): number {
  const known = dayNumbers.get(day)
  if (known !== undefined) return known
  const number = Date.parse(`${day}T00:00:00Z`) / 86_400_000
  if (!/^\d{4}-/.test(day) || !Number.isInteger(number))
    throw new TokenvaultError('store_refused', 'a date of an archived column is not in the years 0 to 9999')
  if (dayNumbers.size >= keptDays) dayNumbers.clear()
  dayNumbers.set(day, number)
  return number
}

/** @param number of days from 1970 on */
export function dayOf(number: number): string {
  const known = days.get(number)
  if (known !== undefined) return known
  const day = new Date(number * 86_400_000).toISOString().slice(0, 10)
  if (days.size >= keptDays) days.clear()
  days.set(number, day)
  return day
}

/** Values as a reader of Parquet gives them, days as text already. */
export function fromParquet(kind: ColumnKind, values: ArrayLike<unknown>): readonly Value[] {
  if (kind === 'bigint') return Array.from(values, value => (typeof value === 'bigint' ? String(value) : null))
  return Array.from(values, value => (value === undefined ? null : (value as Value)))
}
