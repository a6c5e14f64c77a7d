import type { ClearColumn } from '../../vault/fields/clear-columns.ts'
import type { Field } from '../../vault/fields/fields.ts'

/** A login event, checked, in the words of the domain. */
export interface LoginEvent {
  /** 1 to 128 characters. */
  readonly userId: string
  /** At most 32 characters; null where the event has none that the column can hold. */
  readonly deviceType: string | null
  /** At most 32 characters; null where the event has none that the column can hold. */
  readonly locale: string | null
  /** The first number of the version: "2.3.0" → 2, "v0.96" → 0, 7 → 7; null where it has none, or one beyond Postgres integer. */
  readonly appVersion: number | null
  /** Raw values to tokenize, in the order of the configured fields; null where the event has none, and the field need not have one. */
  readonly values: readonly (string | null)[]
  /** What the configured clear columns take, in their order; absent where there is none. */
  readonly clear?: readonly (string | null)[]
}

/** What is read of a field's configuration. */
export type EventField = Pick<Field, 'name' | 'required'>

/** Properties of an event that are stored as they come; the configured fields stand beside them. */
export const clearProperties = ['user_id', 'device_type', 'locale', 'app_version'] as const

/**
 * Why something is not an event. Closed, and free of any text of the message: `<name>` is a name of ours, that is
 * `user_id` or a configured field. The other properties never decide whether a login exists.
 *
 * - `json_invalid`: the body, or a JSON text in it, is not JSON
 * - `array_empty`: an array without elements
 * - `layers_too_many`: more arrays, envelopes and JSON texts inside one another than are opened
 * - `payload_in_s3`: the message says where in S3 its body is, and is nothing else
 * - `rejects_many`: elements of an array, kept together as an array, because those before them filled the message's share
 * - `event_not_object`: what stands in the place of an event is not a JSON object
 * - `name_repeated`: a name stands twice in one object, so that two readers may see two values
 * - `<name>_missing`: the property is absent or null, and is required
 * - `<name>_invalid`: another type, another shape, U+0000 or a lone surrogate; for a field, refused by its rule
 * - `<name>_too_long`: more characters than the column or the field's rule takes
 * - `value_is_token`: the value of a field is a token already
 */
export type RejectReason =
  | (typeof commonReasons)[number]
  | `${string}_missing`
  | `${string}_invalid`
  | `${string}_too_long`

const commonReasons = [
  'json_invalid',
  'array_empty',
  'layers_too_many',
  'payload_in_s3',
  'rejects_many',
  'event_not_object',
  'name_repeated',
  'value_is_token',
] as const

/** Every reason that there can be with these fields. */
export function rejectReasons(fields: readonly EventField[]): readonly RejectReason[] {
  return [
    ...commonReasons,
    ...[{ name: 'user_id', required: true }, ...fields].flatMap(({ name, required }): RejectReason[] => [
      ...(required ? [`${name}_missing` as const] : []),
      `${name}_invalid`,
      `${name}_too_long`,
    ]),
  ]
}

/** Characters of varchar columns. */
const maxUserId = 128
const maxDeviceType = 32
const maxLocale = 32

/** Largest Postgres integer. */
const maxInteger = 2_147_483_647

/**
 * Checks one parsed JSON value. Properties that we do not know are ignored and dropped: producers add some over time,
 * and a worker must not stop at that. Nor does it stop at what a producer makes of the properties that only describe a login:
 * one that cannot be stored is null.
 *
 * @param fields the properties to tokenize; their values are only checked to be text, the rest is the rule's
 * @param clear the properties that are stored in clear besides
 * @returns the event, or the first reason why it is none
 */
export function readLoginEvent(
  candidate: unknown,
  fields: readonly EventField[],
  clear: readonly ClearColumn[] = [],
): LoginEvent | RejectReason {
  if (typeof candidate !== 'object' || candidate === null || Array.isArray(candidate)) return 'event_not_object'
  // JSON.parse makes `__proto__` an own property like any other; own properties are all that is looked at here.
  const read = (name: string): unknown =>
    (Object.hasOwn(candidate, name) ? (candidate as Record<string, unknown>)[name] : undefined) ?? null

  const userId = read('user_id')
  const values = fields.map(({ name, required }) => {
    const value = read(name)
    return !required && isEmpty(value) ? null : value
  })
  const reason = textProblem('user_id', userId, maxUserId) ?? firstProblem(fields, values)
  if (reason !== undefined) return reason
  if (userId === '') return 'user_id_invalid'
  // Each was found to be text above.
  const event = {
    userId: userId as string,
    deviceType: textOrNull(read('device_type'), maxDeviceType),
    locale: textOrNull(read('locale'), maxLocale),
    appVersion: firstNumber(read('app_version')),
    values: values as (string | null)[],
  }
  return clear.length === 0 ? event : { ...event, clear: clear.map(({ property, convert }) => convert(read(property))) }
}

function textOrNull(value: unknown, maxCharacters: number): string | null {
  return isText(value) && !isLongerThan(value, maxCharacters) ? value : null
}

/** Digits of every script, so that those of another one are not skipped to take the minor version for the major one. */
const digits = /\p{Nd}+/u
const negative = /^\s*-\p{Nd}/u

/** The first number of a version, wherever it stands. A negative one is no version: producers write -1 for "unknown". */
function firstNumber(version: unknown): number | null {
  let number = Number.NaN
  if (typeof version === 'number' && version >= 0) number = Math.trunc(version)
  else if (typeof version === 'string' && !negative.test(version))
    number = Number(digits.exec(version)?.[0] ?? Number.NaN)
  return number <= maxInteger ? number : null
}

function isEmpty(value: unknown): boolean {
  return typeof value === 'string' && value.trim() === ''
}

function firstProblem(fields: readonly EventField[], values: readonly unknown[]): RejectReason | undefined {
  for (const [index, { name, required }] of fields.entries()) {
    const value = values[index]
    if (value === null && !required) continue
    const reason = textProblem(name, value, Number.POSITIVE_INFINITY)
    if (reason !== undefined) return reason
  }
  return undefined
}

function textProblem(name: string, value: unknown, maxCharacters: number): RejectReason | undefined {
  if (value === null) return `${name}_missing`
  if (!isText(value)) return `${name}_invalid`
  return isLongerThan(value, maxCharacters) ? `${name}_too_long` : undefined
}

/** Postgres text holds no U+0000, and a lone surrogate has no UTF-8: encoding it would make two values one. */
function isText(value: unknown): value is string {
  return typeof value === 'string' && !value.includes('\0') && value.isWellFormed()
}

/** In code points, as varchar counts; UTF-16 units decide most cases without a walk. */
function isLongerThan(text: string, maxCharacters: number): boolean {
  if (text.length <= maxCharacters) return false
  if (text.length > 2 * maxCharacters) return true
  let characters = 0
  for (const _ of text) characters++
  return characters > maxCharacters
}
