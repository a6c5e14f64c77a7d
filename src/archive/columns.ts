import type { SchemaElement } from 'hyparquet'

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

/** For the writer, which takes days as Date and 64-bit numbers as bigint. */
export function toParquet(kind: ColumnKind, value: Value): unknown {
  if (value === null) return null
  if (kind === 'bigint') return BigInt(value)
  return kind === 'date' ? new Date(`${value}T00:00:00Z`) : value
}

export function fromParquet(value: unknown): Value {
  if (value === undefined || value === null) return null
  if (typeof value === 'bigint') return String(value)
  return value instanceof Date ? value.toISOString().slice(0, 10) : (value as Value)
}
