import { TokenvaultError } from '../../errors.ts'

/** Texts of an event that a search can ask for, each as the event has it. An actor without an issuer is one of the principal's. */
export const textCriteria = [
  ...(['subject', 'issuer', 'actor', 'actorIssuer', 'client', 'field', 'purpose', 'ticket', 'person'] as const),
  ...(['type', 'decision', 'code'] as const),
]

export type TextCriterion = (typeof textCriteria)[number]

/** What events are looked for: those that meet all of it. */
export interface Criteria extends Readonly<Partial<Record<TextCriterion, string>>> {
  /** Keyed digests of tokens, of which an event names one. */
  readonly digests?: readonly string[]
  /** Milliseconds since 1970: `at` is this or later, and earlier than that. */
  readonly from?: number
  readonly to?: number
}

/** The members of a stored event; none where it is not a JSON object. */
export function parseEvent(event: Uint8Array): ReadonlyMap<string, unknown> {
  try {
    const parsed: unknown = JSON.parse(Buffer.from(event).toString('utf8'))
    return new Map(isObject(parsed) ? Object.entries(parsed) : [])
  } catch {
    return new Map()
  }
}

/** @returns whether an event meets all criteria; what of it is not of the expected type meets none */
export function meets(members: ReadonlyMap<string, unknown>, criteria: Criteria): boolean {
  const { digests, from, to } = criteria
  for (const name of textCriteria) {
    const wanted = criteria[name]
    if (wanted !== undefined && !hasText(members, name, wanted)) return false
  }
  if (digests !== undefined) {
    const tokens = members.get('tokens')
    if (!Array.isArray(tokens) || !digests.some(digest => tokens.includes(digest))) return false
  }
  if (from === undefined && to === undefined) return true
  const at = timeOf(members.get('at'))
  return at !== undefined && at >= (from ?? at) && at < (to ?? Number.POSITIVE_INFINITY)
}

function hasText(members: ReadonlyMap<string, unknown>, name: TextCriterion, wanted: string): boolean {
  if (name === 'field') {
    const fields = members.get('fields')
    return isObject(fields) && Object.hasOwn(fields, wanted)
  }
  if (name !== 'actor' && name !== 'actorIssuer') return members.get(name) === wanted
  const actor = members.get('actor')
  if (!isObject(actor)) return false
  const { issuer, subject } = actor as { issuer?: unknown; subject?: unknown }
  if (typeof subject !== 'string') return false
  return wanted === (name === 'actor' ? subject : typeof issuer === 'string' ? issuer : members.get('issuer'))
}

/** `at` as we write it, so that the search index and we read the same into it. */
const eventTime = /^[1-9]\d{3}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/

function timeOf(at: unknown): number | undefined {
  if (typeof at !== 'string' || !eventTime.test(at)) return undefined
  const time = new Date(at)
  // The 30th of February would be read as a day in March.
  return !Number.isNaN(time.getTime()) && time.toISOString() === at ? time.getTime() : undefined
}

const timestamp =
  /^(?<date>\d{4}-\d\d-\d\d)T([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,3})?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)$/i

/**
 * Reads the bound of a time window: RFC 3339 (5.6) with an offset, and at most milliseconds, as events have no more.
 *
 * @param name of the criterion, for the message
 * @returns milliseconds since 1970
 * @throws TokenvaultError `request_invalid`
 */
export function parseTimestamp(name: string, text: string): number {
  const date = timestamp.exec(text)?.groups?.['date']
  const time = Date.parse(text.toUpperCase())
  const isDay = date !== undefined && !Number.isNaN(Date.parse(date)) && new Date(date).toISOString().startsWith(date)
  if (!isDay || Number.isNaN(time))
    throw new TokenvaultError('request_invalid', `${name} is not a time such as 2026-03-01T09:00:00+01:00 (RFC 3339)`)
  return time
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
