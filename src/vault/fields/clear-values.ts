import type { ClearType } from './clear-types.ts'

/** Longest text that is read as a number: the digits of any that fits, and more. */
const maxNumberCharacters = 400

/** Postgres integer and bigint. */
const integerBounds = [-(2n ** 31n), 2n ** 31n - 1n] as const
const bigintBounds = [-(2n ** 63n), 2n ** 63n - 1n] as const

/**
 * What a column of the type takes of a JSON value, as text that Postgres reads in that type. Everything that Postgres would
 * refuse is null: what it refuses it would log.
 */
export function convertClearValue(type: ClearType, value: unknown): string | null {
  switch (type.name) {
    case 'text':
    case 'varchar':
      return textOf(value, type.maxCharacters ?? Number.POSITIVE_INFINITY)
    case 'integer':
      return wholeOf(value, integerBounds)
    case 'bigint':
      return wholeOf(value, bigintBounds)
    case 'numeric':
      return numericOf(value, type.precision!, type.scale!)
    case 'double precision':
      return doubleOf(value)
    case 'boolean':
      return booleanOf(value)
    case 'date':
      return dateOf(value)
    case 'timestamptz':
      return timestampOf(value)
  }
}

/** Numbers, true and false as JSON writes them. Postgres text holds neither U+0000 nor half a surrogate pair. */
function textOf(value: unknown, maxCharacters: number): string | null {
  if (typeof value === 'number' || typeof value === 'boolean') return textOf(String(value), maxCharacters)
  if (typeof value !== 'string' || value.includes('\0') || !value.isWellFormed()) return null
  if (value.length <= maxCharacters) return value
  // As varchar counts: characters are code points.
  return value.length > 2 * maxCharacters || Array.from(value).length > maxCharacters ? null : value
}

interface Decimal {
  /** The number without its point. */
  readonly digits: bigint
  /** Digits behind the point; negative where zeros stand before it. */
  readonly scale: number
}

const decimalText = /^([+-]?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d{1,3}))?$/

/** A JSON number, or a text that holds one. */
function decimalOf(value: unknown): Decimal | null {
  const text = typeof value === 'number' ? String(value) : value
  if (typeof text !== 'string' || text.length > maxNumberCharacters) return null
  const [, sign, whole, fraction = '', exponent = '0'] = decimalText.exec(text.trim()) ?? []
  if (whole === undefined) return null
  const digits = BigInt(whole + fraction)
  return { digits: sign === '-' ? -digits : digits, scale: fraction.length - Number(exponent) }
}

/** Rounded half away from zero, as Postgres rounds numeric. @returns the number times 10 to the power of `scale` */
function scaledTo({ digits, scale }: Decimal, wanted: number): bigint {
  if (scale <= wanted) return digits * 10n ** BigInt(wanted - scale)
  const unit = 10n ** BigInt(scale - wanted)
  const half = digits < 0n ? -unit / 2n : unit / 2n
  return (digits + half) / unit
}

/** A whole number within the bounds. A JSON number beyond 2^53 was rounded when it was parsed, and is not what was sent. */
function wholeOf(value: unknown, [least, most]: readonly [bigint, bigint]): string | null {
  if (typeof value === 'number' && !Number.isSafeInteger(value)) return null
  const decimal = decimalOf(value)
  if (decimal === null) return null
  const { digits, scale } = decimal
  if (scale > 0 && digits % 10n ** BigInt(scale) !== 0n) return null
  const whole = scaledTo(decimal, 0)
  return whole < least || whole > most ? null : String(whole)
}

function numericOf(value: unknown, precision: number, scale: number): string | null {
  const decimal = decimalOf(value)
  if (decimal === null) return null
  const scaled = scaledTo(decimal, scale)
  const size = scaled < 0n ? -scaled : scaled
  if (size >= 10n ** BigInt(precision)) return null
  const digits = String(size).padStart(scale + 1, '0')
  const text = scale === 0 ? digits : `${digits.slice(0, -scale)}.${digits.slice(-scale)}`
  return scaled < 0n ? `-${text}` : text
}

function doubleOf(value: unknown): string | null {
  if (decimalOf(value) === null) return null
  const number = Number(value)
  return Number.isFinite(number) ? String(number) : null
}

function booleanOf(value: unknown): string | null {
  if (typeof value === 'boolean') return String(value)
  const text = typeof value === 'string' ? value.trim().toLowerCase() : ''
  return text === 'true' || text === 'false' ? text : null
}

/** A day of the calendar from 0001 to 9999, YYYY-MM-DD. */
function dateOf(value: unknown): string | null {
  if (typeof value !== 'string') return null
  const text = value.trim()
  if (!/^\d{4}-\d{2}-\d{2}$/.test(text) || text.startsWith('0000')) return null
  const timeMs = Date.parse(text)
  // Date.parse takes 30 February for 1 March.
  return !Number.isNaN(timeMs) && new Date(timeMs).toISOString().startsWith(text) ? text : null
}

const timestampText = /^(\d{4}-\d{2}-\d{2})[Tt ](\d{2}:\d{2}:\d{2})(?:\.(\d{1,9}))?([Zz]|[+-]\d{2}:\d{2})$/

/** A time of RFC 3339, with its offset from UTC; to the microsecond, as Postgres keeps it. */
function timestampOf(value: unknown): string | null {
  if (typeof value !== 'string') return null
  const [, day, time, fraction = '', offset] = timestampText.exec(value.trim()) ?? []
  if (day === undefined || dateOf(day) === null) return null
  const timeMs = Date.parse(`${day}T${time}${offset!.toUpperCase()}`)
  if (Number.isNaN(timeMs)) return null
  const [utcSecond] = new Date(timeMs).toISOString().split('.') as [string]
  // The offset may lead out of the years that have four digits.
  return /^(?!0000)\d{4}-/.test(utcSecond) ? `${utcSecond}.${fraction.slice(0, 6).padEnd(1, '0')}Z` : null
}
