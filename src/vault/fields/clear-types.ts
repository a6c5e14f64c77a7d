/** A type that a clear column may have: which of them, and its length or its digits. */
export interface ClearType {
  readonly name: (typeof typeNames)[number]
  /** As Postgres writes the type. */
  readonly postgres: string
  /** Characters of a varchar. */
  readonly maxCharacters?: number
  /** All digits of a numeric, and those behind its point. */
  readonly precision?: number
  readonly scale?: number
}

const typeNames = [
  ...(['text', 'varchar', 'integer', 'bigint', 'numeric', 'double precision', 'boolean', 'date'] as const),
  'timestamptz',
] as const

/** What the text of a type may be, in the words of JSON Schema. */
export const clearTypeShape = {
  pattern:
    '^(text|varchar\\([1-9][0-9]{0,4}\\)|integer|bigint|numeric\\([1-9][0-9]?, ?[0-9]{1,2}\\)|double precision|boolean|date|timestamptz)$',
  errorMessage:
    'is not one of text, varchar(n), integer, bigint, numeric(p,s), double precision, boolean, date, timestamptz',
} as const

/** Most digits of a numeric. */
export const maxPrecision = 38

/** @returns undefined for a text that is not a type of ours */
export function parseClearType(text: string): ClearType | undefined {
  if (!new RegExp(clearTypeShape.pattern).test(text)) return undefined
  const [, word = '', first, second] = /^([a-z ]+)(?:\((\d+)(?:, ?(\d+))?\))?$/.exec(text) ?? []
  const name = typeNames.find(each => each === word)!
  if (name === 'varchar') return { name, postgres: `character varying(${Number(first)})`, maxCharacters: Number(first) }
  if (name === 'timestamptz') return { name, postgres: 'timestamp with time zone' }
  if (name !== 'numeric') return { name, postgres: name }
  const [precision, scale] = [Number(first), Number(second)]
  if (precision > maxPrecision || scale > precision) return undefined
  return { name, postgres: `numeric(${precision},${scale})`, precision, scale }
}
