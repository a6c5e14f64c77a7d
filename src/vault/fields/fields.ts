import { parseToken } from '../../crypto/token.ts'
import { type ErrorCode, TokenvaultError } from '../../errors.ts'
import { defaultPlaceholders, foldPlaceholder } from './placeholders.ts'
import { normalizationRules, type RuleName } from './rules/index.ts'

/** A field as it is configured. */
export interface FieldDefinition {
  /** Name in events and in tokens: `ip`. */
  readonly name: string
  /** Versioned rule that its values are normalized by. */
  readonly rule: RuleName
  /** Column of user_logins that holds its tokens. */
  readonly column: string
  /** Whether an event without a value is quarantined; otherwise its row has null. True where it is absent. */
  readonly required?: boolean | undefined
  /** Values that say that there is none: null is stored for them. Those of the rule where it is absent. */
  readonly placeholders?: Iterable<string> | undefined
}

/** One field that the vault tokenizes. */
export interface Field extends FieldDefinition {
  readonly required: boolean
  /** As foldPlaceholder gives them. */
  readonly placeholders: ReadonlySet<string>
}

/** Longest normalized value, in UTF-8 bytes: its token then fits varchar(256) beside any field name of 32 letters. */
export const maxValueBytes = 140

/** What the texts of a field may be, in the words of JSON Schema, and what is said of others. */
export const fieldShapes = {
  name: {
    // A name that held `_v<digits>` would make `<field>_v<version>_` readable in two ways.
    pattern: '^(?!.*_v[0-9]+(_|$))[a-z][a-z0-9_]{0,31}$',
    errorMessage:
      'is not usable in a token: 1 to 32 lower-case letters, digits and _, a letter first, without _v and digits',
  },
  column: {
    pattern: '^[a-z][a-z0-9_]{0,62}$',
    errorMessage: 'is not a plain name: 1 to 63 lower-case letters, digits and _, a letter first',
  },
} as const

const fieldName = new RegExp(fieldShapes.name.pattern)
const columnName = new RegExp(fieldShapes.column.pattern)

/** What user_logins and quarantine reasons already use: the properties of an event that are stored in clear, and their columns. */
const clearNames = new Set(['user_id', 'device_type', 'locale', 'app_version', 'create_date'])

/** The configured fields by name; a Map, because the names that are looked up come from callers. */
export type FieldSchema = ReadonlyMap<string, Field>

/** What is wrong with one property of an entry. Repeats nothing of the entry. */
export interface FieldProblem {
  readonly property: FieldText
  readonly problem: string
}

/** The properties of an entry that are texts. */
type FieldText = 'name' | 'rule' | 'column'

/**
 * @param field an entry whose properties are texts
 * @param earlier the entries that stand before it
 */
export function findFieldProblems(
  field: Readonly<Record<FieldText, string>>,
  earlier: readonly Readonly<Record<FieldText, string>>[],
): readonly FieldProblem[] {
  const { name, rule, column } = field
  const problems: FieldProblem[] = []
  const complain = (property: FieldText, problem: string) =>
    void problems.push({ property, problem: `${property} ${problem}` })
  if (!fieldName.test(name)) complain('name', fieldShapes.name.errorMessage)
  else if (clearNames.has(name)) complain('name', 'is of a property stored in clear')
  else if (earlier.some(other => other.name === name)) complain('name', 'stands twice')
  if (!normalizationRules.has(rule as RuleName))
    complain('rule', `is not one of ${[...normalizationRules.keys()].join(', ')}`)
  if (!columnName.test(column)) complain('column', fieldShapes.column.errorMessage)
  else if (clearNames.has(column)) complain('column', 'of user_logins holds something else')
  else if (earlier.some(other => other.column === column)) complain('column', 'stands twice')
  return problems
}

/**
 * @param fields one entry a field; names, and columns, all different
 * @throws TokenvaultError `config_invalid` naming the entry that is wrong
 */
export function createFieldSchema(fields: readonly FieldDefinition[]): FieldSchema {
  const schema = new Map<string, Field>()
  for (const [index, field] of fields.entries()) {
    const [wrong] = findFieldProblems(field, fields.slice(0, index))
    if (wrong !== undefined) throw new TokenvaultError('config_invalid', `field ${field.name}: ${wrong.problem}`)
    const { name, rule, column, required = true } = field
    const placeholders = new Set(
      [...(field.placeholders ?? defaultPlaceholders[rule])].map(text => foldPlaceholder(rule, text)),
    )
    schema.set(name, Object.freeze({ name, rule, column, required, placeholders }))
  }
  return schema
}

/** What tokenvault tokenizes unless told otherwise. */
export const loginFields: FieldSchema = createFieldSchema([
  { name: 'ip', rule: 'ip.v1', column: 'masked_ip' },
  { name: 'device_id', rule: 'device_id.v1', column: 'masked_device_id' },
])

/** Why a value got no token. */
export interface ValueRefused {
  readonly code: Extract<ErrorCode, 'value_invalid' | 'value_too_long' | 'value_is_token' | 'value_is_placeholder'>
}

const placeholder: ValueRefused = { code: 'value_is_placeholder' }

/**
 * The text that a value's token is made from, or why it gets none.
 *
 * @param fields all fields of the vault: a token of any of them is not a value
 */
export function acceptValue(field: Field, value: string, fields: FieldSchema): string | ValueRefused {
  const { placeholders, rule } = field
  const normalized = normalizeValue(field, value, fields)
  if (typeof normalized === 'string') return placeholders.has(normalized.toLowerCase()) ? placeholder : normalized
  // A word such as `unknown` is not of the shape of an address.
  return normalized.code === 'value_invalid' && placeholders.has(foldPlaceholder(rule, value))
    ? placeholder
    : normalized
}

/** As acceptValue; a placeholder is a value like others here: it has tokens from the time before it was one. */
export function normalizeValue(field: Field, value: string, fields: FieldSchema): string | ValueRefused {
  if (isToken(value, fields)) return { code: 'value_is_token' }
  const normalized = normalizationRules.get(field.rule)!.normalize(value)
  if (normalized === undefined) return { code: 'value_invalid' }
  return Buffer.byteLength(normalized, 'utf8') > maxValueBytes ? { code: 'value_too_long' } : normalized
}

/** Rules trim values, so white space around a token makes no value of it. */
function isToken(value: string, fields: FieldSchema): boolean {
  // Few values hold these two letters, and looking for them takes a fraction of the rest.
  if (!value.includes('_v')) return false
  const token = parseToken(value.trim())
  return token !== undefined && fields.has(token.field)
}

/** What a partial reveal gives of a normalized value of the field. */
export function revealPart(field: Field, value: string): string {
  return normalizationRules.get(field.rule)!.revealPart(value)
}
