import { parseToken } from '../../crypto/token.ts'
import {
  type InetPrefix,
  inetPrefixes,
  parseTypedToken,
  type TokenFormat,
  tokenFormats,
} from '../../crypto/typed-token.ts'
import { type ErrorCode, TokenvaultError } from '../../errors.ts'
import { defaultPlaceholders, foldPlaceholder } from './placeholders.ts'
import { derivationRules, normalizationRules, type RuleName } from './rules/index.ts'

/** A field as it is configured: events have its values, or its rule derives them from the values of another field. */
export interface FieldDefinition {
  /** Name in events and in tokens: `ip`. */
  readonly name: string
  /** Versioned rule that its values are normalized by. */
  readonly rule: RuleName
  /** Column of user_logins that holds its tokens; absent for a derived field. */
  readonly column?: string | undefined
  /** The field that its values are derived from; absent where events have them. */
  readonly derivedFrom?: string | undefined
  /** Whether an event without a value is quarantined; otherwise its row has null. True where it is absent. */
  readonly required?: boolean | undefined
  /** Values that say that there is none: null is stored for them. Those of the rule where it is absent. */
  readonly placeholders?: Iterable<string> | undefined
  /** How its tokens are spelled; `text` where it is absent. */
  readonly format?: TokenFormat | undefined
  /** The network that tokens of format `inet` are addresses of; fd00::/8 where it is absent. */
  readonly inetPrefix?: InetPrefix | undefined
}

/** One field that the vault tokenizes. */
export interface Field extends FieldDefinition {
  readonly required: boolean
  /** As foldPlaceholder gives them. */
  readonly placeholders: ReadonlySet<string>
  readonly format: TokenFormat
  readonly inetPrefix: InetPrefix
}

/** A field whose values stand in events. */
export interface EventField extends Field {
  readonly column: string
}

/** A field whose values are derived from those of another one. */
export interface DerivedField extends Field {
  readonly derivedFrom: string
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

/** The fields whose values stand in events, in order: the tokens of a row, and the columns that they go to. */
export function eventFields(fields: FieldSchema): readonly EventField[] {
  return [...fields.values()].filter((field): field is EventField => field.derivedFrom === undefined)
}

/** The fields whose values are derived from those of others, in order. */
export function derivedFields(fields: FieldSchema): readonly DerivedField[] {
  return [...fields.values()].filter((field): field is DerivedField => field.derivedFrom !== undefined)
}

/** What is wrong with one property of an entry. Repeats nothing of the entry. */
export interface FieldProblem {
  readonly property: FieldText
  readonly problem: string
}

/** The properties of an entry that are texts. */
type FieldText = 'name' | 'rule' | 'column' | 'derive' | 'from' | 'format' | 'inet_prefix'

/** An entry of FIELDS_FILE, as far as it is text. */
export type FieldTexts = Readonly<Partial<Record<FieldText, string | undefined>>>

/**
 * Of a property that is missing nothing is said.
 *
 * @param field an entry: with `rule` and `column`, or with `derive` and `from`
 * @param earlier the entries that stand before it
 */
export function findFieldProblems(field: FieldTexts, earlier: readonly FieldTexts[]): readonly FieldProblem[] {
  const { name, rule, column, derive, from, format, inet_prefix: inetPrefix } = field
  const problems: FieldProblem[] = []
  const complain = (property: FieldText, problem: string | undefined) => {
    if (problem !== undefined) problems.push({ property, problem: `${property} ${problem}` })
  }
  const standsTwice = (property: FieldText) => earlier.some(other => other[property] === field[property])
  if (name !== undefined) {
    if (!fieldName.test(name)) complain('name', fieldShapes.name.errorMessage)
    else if (clearNames.has(name)) complain('name', 'is of a property stored in clear')
    else if (standsTwice('name')) complain('name', 'stands twice')
  }
  if (rule !== undefined && !normalizationRules.has(rule as RuleName))
    complain('rule', `is not one of ${[...normalizationRules.keys()].join(', ')}`)
  if (column !== undefined) {
    if (!columnName.test(column)) complain('column', fieldShapes.column.errorMessage)
    else if (clearNames.has(column)) complain('column', 'of user_logins holds something else')
    else if (standsTwice('column')) complain('column', 'stands twice')
  }
  if (derive !== undefined && !derivationRules.has(derive as RuleName))
    complain('derive', `is not one of ${[...derivationRules.keys()].join(', ')}`)
  if (from !== undefined) complain('from', findSourceProblem(field, earlier))
  if (format !== undefined && !tokenFormats.some(known => known === format))
    complain('format', `is not one of ${tokenFormats.join(', ')}`)
  if (inetPrefix !== undefined && !inetPrefixes.some(known => known === inetPrefix))
    complain('inet_prefix', `is not one of ${inetPrefixes.join(', ')}`)
  else if (inetPrefix !== undefined && format !== 'inet') complain('inet_prefix', 'is for fields of format inet')
  return problems
}

/** Why a field cannot be derived from the one that it names. */
function findSourceProblem({ derive, from }: FieldTexts, earlier: readonly FieldTexts[]): string | undefined {
  const source = earlier.find(({ name }) => name === from)
  if (source === undefined) return 'is not a field that stands before this one'
  if (source.derive !== undefined) return 'is a derived field itself'
  const rule = derivationRules.get(derive as RuleName)
  if (rule !== undefined && source.rule !== rule) return `is a field of another rule than ${rule}`
  return earlier.some(other => other.from === from) ? 'has a derived field already' : undefined
}

/**
 * @param fields one entry a field; names, and columns, all different; a derived field stands behind its source
 * @throws TokenvaultError `config_invalid` naming the entry that is wrong
 */
export function createFieldSchema(fields: readonly FieldDefinition[]): FieldSchema {
  const schema = new Map<string, Field>()
  const texts = fields.map(({ name, rule, column, derivedFrom, format, inetPrefix }): FieldTexts => {
    if (derivedFrom !== undefined) return { name, derive: rule, from: derivedFrom }
    // A field that was made of an entry has the prefix that it does not need.
    return { name, rule, column: column ?? '', format, inet_prefix: format === 'inet' ? inetPrefix : undefined }
  })
  for (const [index, field] of fields.entries()) {
    const [wrong] = findFieldProblems(texts[index]!, texts.slice(0, index))
    if (wrong !== undefined) throw new TokenvaultError('config_invalid', `field ${field.name}: ${wrong.problem}`)
    const { name, rule, column, derivedFrom, required = true, format = 'text', inetPrefix = 'fd00::/8' } = field
    const placeholders = new Set(
      [...(field.placeholders ?? defaultPlaceholders[rule])].map(text => foldPlaceholder(rule, text)),
    )
    const place = derivedFrom === undefined ? { column: column! } : { derivedFrom }
    schema.set(name, Object.freeze({ name, rule, ...place, required, placeholders, format, inetPrefix }))
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
  if (isToken(value, fields) || isOwnUuid(field, value)) return { code: 'value_is_token' }
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

/**
 * A UUID of version 8 is taken for a token by the one field whose tokens are such UUIDs: programs make ids of version 4, 1 and 7,
 * and what is refused shows in the quarantine, while a token of a token would not show. An address is never taken for one: hosts
 * have unique local addresses, and a login from one must not be lost.
 */
function isOwnUuid({ format }: Field, value: string): boolean {
  return format === 'uuid' && parseTypedToken(value.trim())?.format === 'uuid'
}

/** What a partial reveal gives of a normalized value of the field. */
export function revealPart(field: Field, value: string): string {
  return normalizationRules.get(field.rule)!.revealPart(value)
}
