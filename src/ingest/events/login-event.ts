/** A login event, checked, in the words of the domain. */
export interface LoginEvent {
  /** 1 to 128 characters. */
  readonly userId: string
  /** At most 32 characters. */
  readonly deviceType: string
  /** At most 32 characters. */
  readonly locale: string | null
  /** The first number of the version: "2.3.0" → 2, "0.96" → 0. Fits Postgres integer. */
  readonly appVersion: number
  /** Raw values to tokenize, in the order of the configured fields. */
  readonly values: readonly string[]
}

/** Properties of an event that are stored as they come; the configured fields stand beside them. */
export const clearProperties = ['user_id', 'device_type', 'locale', 'app_version'] as const

/**
 * Why something is not an event. Closed, and free of any text of the message: `<name>` is a name of ours, that is
 * `user_id`, `device_type`, `locale`, `app_version` or a configured field.
 *
 * - `json_invalid`: the body is not JSON
 * - `array_empty`: the body is an array without elements
 * - `rejects_many`: elements of an array, kept together as an array, because those before them filled the message's share
 * - `event_not_object`: the body, or an element of its array, is not a JSON object
 * - `<name>_missing`: the property is absent or null (`locale` may be)
 * - `<name>_invalid`: another type, another shape, U+0000 or a lone surrogate; for a field, refused by its rule
 * - `<name>_too_long`: more characters than the column or the field's rule takes
 */
export type RejectReason =
  | 'json_invalid'
  | 'array_empty'
  | 'rejects_many'
  | 'event_not_object'
  | `${string}_missing`
  | `${string}_invalid`
  | `${string}_too_long`

/** A version begins with its first number; what follows is kept apart by `.`, `-` or `+` (semver) and plain. */
const versionShape = /^([0-9]{1,10})(?:[.+-][0-9A-Za-z.+-]*)?$/
const maxVersionCharacters = 64

/** Largest Postgres integer. */
const maxInteger = 2_147_483_647

/**
 * Checks one parsed JSON value. Properties that we do not know are ignored and dropped: producers add some over time,
 * and a worker must not stop at that.
 *
 * @param fields names of the properties to tokenize; their values are only checked to be text, the rest is the rule's
 * @returns the event, or the first reason why it is none
 */
export function readLoginEvent(candidate: unknown, fields: readonly string[]): LoginEvent | RejectReason {
  if (typeof candidate !== 'object' || candidate === null || Array.isArray(candidate)) return 'event_not_object'
  // JSON.parse makes `__proto__` an own property like any other; own properties are all that is looked at here.
  const read = (name: string): unknown =>
    (Object.hasOwn(candidate, name) ? (candidate as Record<string, unknown>)[name] : undefined) ?? null

  const userId = read('user_id')
  const deviceType = read('device_type')
  const locale = read('locale')
  const version = read('app_version')
  const values = fields.map(read)
  const reason =
    textProblem('user_id', userId, 128) ??
    textProblem('device_type', deviceType, 32) ??
    (locale === null ? undefined : textProblem('locale', locale, 32)) ??
    textProblem('app_version', version, maxVersionCharacters) ??
    firstProblem(fields, values)
  if (reason !== undefined) return reason
  if (userId === '') return 'user_id_invalid'
  const appVersion = Number(versionShape.exec(version as string)?.[1] ?? Number.NaN)
  if (!(appVersion <= maxInteger)) return 'app_version_invalid'
  // Each was found to be text above.
  return {
    userId: userId as string,
    deviceType: deviceType as string,
    locale: locale as string | null,
    appVersion,
    values: values as string[],
  }
}

function firstProblem(fields: readonly string[], values: readonly unknown[]): RejectReason | undefined {
  for (const [index, field] of fields.entries()) {
    const reason = textProblem(field, values[index], Number.POSITIVE_INFINITY)
    if (reason !== undefined) return reason
  }
  return undefined
}

function textProblem(name: string, value: unknown, maxCharacters: number): RejectReason | undefined {
  if (value === null) return `${name}_missing`
  // Postgres text holds no U+0000, and a lone surrogate has no UTF-8: encoding it would make two values one.
  if (typeof value !== 'string' || value.includes('\0') || !value.isWellFormed()) return `${name}_invalid`
  return isLongerThan(value, maxCharacters) ? `${name}_too_long` : undefined
}

/** In code points, as varchar counts; UTF-16 units decide most cases without a walk. */
function isLongerThan(text: string, maxCharacters: number): boolean {
  if (text.length <= maxCharacters) return false
  if (text.length > 2 * maxCharacters) return true
  let characters = 0
  for (const _ of text) characters++
  return characters > maxCharacters
}
