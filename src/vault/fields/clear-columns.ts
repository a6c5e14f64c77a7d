import { clearTypeShape, maxPrecision, parseClearType } from './clear-types.ts'
import { convertClearValue } from './clear-values.ts'
import { fieldShapes, loginFields } from './fields.ts'

/** A property of events that is stored as it comes, in a column of analyst.login_details. */
export interface ClearColumn {
  /** Name of the property in events. */
  readonly property: string
  readonly column: string
  /** As Postgres writes it: `character varying(32)`. */
  readonly type: string
  /** What the column takes of the property's value, as text that Postgres reads; null where it does not fit. */
  convert(value: unknown): string | null
}

/** What the texts of a clear column may be, in the words of JSON Schema. */
export const clearShapes = {
  property: {
    minLength: 1,
    maxLength: 128,
    pattern: '^[^\\u0000-\\u001f\\u007f]*$',
    errorMessage: 'is not a name of a property: 1 to 128 characters, none of them a control character',
  },
  column: fieldShapes.column,
  type: clearTypeShape,
} as const

/** Most clear columns that there may be. */
export const maxClearColumns = 64

/** The columns that analyst.login_details has of its own. */
const detailColumns = new Set([
  ...['login_id', 'user_id', 'device_type', 'masked_ip', 'masked_device_id', 'locale', 'app_version', 'create_date'],
])

/** System columns of every table (Postgres 18, 5.6). */
const systemColumns = new Set(['tableoid', 'xmin', 'cmin', 'xmax', 'cmax', 'ctid'])

/** Key words of Postgres 18 that are no names (pg_get_keywords, reserved): `select user` says who is logged in. */
const keyWords = new Set(
  `all analyse analyze and any array as asc asymmetric authorization binary both case cast check collate collation column
  concurrently constraint create cross current_catalog current_date current_role current_schema current_time current_timestamp
  current_user default deferrable desc distinct do else end except false fetch for foreign freeze from full grant group
  having ilike in initially inner intersect into is isnull join lateral leading left like limit localtime localtimestamp
  natural not notnull null offset on only or order outer overlaps placing primary references returning right select
  session_user similar some symmetric system_user table tablesample then to trailing true union unique user using variadic
  verbose when where window with`.split(/\s+/),
)

/** An entry of `clear` in FIELDS_FILE, as far as it is text. */
export type ClearTexts = Readonly<Partial<Record<'property' | 'column' | 'type', string>>>

/** What is wrong with one property of an entry. Repeats nothing of the entry. */
export interface ClearProblem {
  readonly property: keyof ClearTexts
  readonly problem: string
}

/**
 * @param entry of which a property that is missing is not looked at
 * @param earlier the entries that stand before it
 * @param fields names and columns of the fields that are tokenized
 */
export function findClearProblems(
  entry: ClearTexts,
  earlier: readonly ClearTexts[],
  fields: { readonly names: ReadonlySet<string>; readonly columns: ReadonlySet<string> },
): readonly ClearProblem[] {
  const { property, column, type } = entry
  const problems: ClearProblem[] = []
  const complain = (of: keyof ClearTexts, problem: string) =>
    void problems.push({ property: of, problem: `${of} ${problem}` })
  if (property !== undefined) {
    if (isTokenized(property, fields.names)) complain('property', 'is tokenized: it is never stored in clear')
    else if (namesAnAddress(property)) complain('property', 'is called an IP address: tokenize it as a field')
    else if (property.trim().toLowerCase() === 'user_id') complain('property', 'is stored in clear as user_id already')
    else if (earlier.some(other => other.property === property)) complain('property', 'stands twice')
  }
  if (column !== undefined) {
    if (detailColumns.has(column) || fields.columns.has(column))
      complain('column', 'of login_details holds something else')
    else if (systemColumns.has(column) || keyWords.has(column)) complain('column', 'is a word of Postgres')
    else if (earlier.some(other => other.column === column)) complain('column', 'stands twice')
  }
  if (type !== undefined && new RegExp(clearTypeShape.pattern).test(type) && parseClearType(type) === undefined)
    complain('type', `has more than ${maxPrecision} digits, or more behind its point than in all`)
  return problems
}

/** Also in other letters, and the fields that are tokenized by default: what one producer tokenizes is no secret of another's. */
function isTokenized(property: string, names: ReadonlySet<string>): boolean {
  const folded = property.trim().toLowerCase()
  return names.has(property) || names.has(folded) || loginFields.has(folded)
}

/** `client_ip`, `ipAddress`, `x-ipv6`: a word of the name says so. */
function namesAnAddress(property: string): boolean {
  const words = property
    .replace(/([a-z0-9])([A-Z])/g, '$1 $2')
    .toLowerCase()
    .split(/[^\p{L}\p{N}]+/u)
  return words.some(word => /^ip(v?[46])?(addr|address)?s?$/.test(word))
}

/** @param entries that findClearProblems finds nothing wrong with */
export function createClearColumns(
  entries: readonly Readonly<Record<'property' | 'column' | 'type', string>>[],
): readonly ClearColumn[] {
  return entries.map(({ property, column, type }) => {
    const parsed = parseClearType(type)!
    return { property, column, type: parsed.postgres, convert: value => convertClearValue(parsed, value) }
  })
}
