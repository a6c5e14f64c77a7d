import { type LoginEvent, type RejectReason, readLoginEvent } from './login-event.ts'

/** One body, taken apart. Every element stands in exactly one of the two lists. */
export interface ParsedBody {
  readonly events: readonly { readonly eventIndex: number; readonly event: LoginEvent }[]
  readonly rejects: readonly { readonly eventIndex: number; readonly reason: RejectReason }[]
  /** Source text of an element, for the quarantine; the whole body where no array with elements was in it. */
  readonly textOf: (eventIndex: number) => string
}

/**
 * Parses a message body: one event, or an array of events, as such or in the envelopes of SNS and EventBridge. An element
 * that is not an event never blocks its neighbours. Never throws, and lets nothing of JSON.parse's message out, because it quotes the body.
 *
 * @param fields names of the event's properties to tokenize
 */
export function parseBody(body: string, fields: readonly string[]): ParsedBody {
  const { content: parsed, text } = unwrap(body)
  const refuse = (reason: RejectReason): ParsedBody => ({
    events: [],
    rejects: [{ eventIndex: 0, reason }],
    textOf: () => body,
  })
  if (parsed === undefined) return refuse('json_invalid')
  if (!Array.isArray(parsed)) {
    const event = readLoginEvent(parsed, fields)
    if (typeof event === 'string') return refuse(event)
    return { events: [{ eventIndex: 0, event }], rejects: [], textOf: () => body }
  }
  if (parsed.length === 0) return refuse('array_empty')

  const events: { eventIndex: number; event: LoginEvent }[] = []
  const rejects: { eventIndex: number; reason: RejectReason }[] = []
  for (const [eventIndex, element] of parsed.entries()) {
    const event = readLoginEvent(element, fields)
    if (typeof event === 'string') rejects.push({ eventIndex, reason: event })
    else events.push({ eventIndex, event })
  }
  // Only rejects are ever asked for, and most bodies have none.
  let texts: readonly string[] | undefined
  const textOf = (eventIndex: number) => {
    texts ??= elementTexts(text())
    return texts[eventIndex] ?? body
  }
  return { events, rejects, textOf }
}

/** What a body holds once its envelopes are off. */
export interface Unwrapped {
  /** Parsed JSON; undefined where the text is not JSON. */
  readonly content: unknown
  /** Source text of the content, exactly as it was sent. */
  readonly text: () => string
}

const eventProperties = ['user_id', 'device_type', 'app_version', 'locale']

/**
 * Takes a body out of what AWS puts around it on the way to the queue: an SNS notification, whose `Message` is the text that
 * was published, and an EventBridge event, whose `detail` is the object that was put. Each at most once, in either order, since
 * either may deliver into the other.
 *
 * An object that has a property of a login event is never taken for an envelope, whatever else it has: producers may call a
 * property `detail`, and what is refused must be kept whole. Never throws.
 *
 * @see https://docs.aws.amazon.com/sns/latest/dg/sns-message-and-json-formats.html (HTTP/S notification JSON format)
 * @see https://docs.aws.amazon.com/eventbridge/latest/ref/overiew-event-structure.html
 */
export function unwrap(body: string): Unwrapped {
  return takeOff({ content: parseJson(body), text: () => body }, [openNotification, openEventBridgeEvent])
}

function takeOff(unwrapped: Unwrapped, openers: readonly Open[]): Unwrapped {
  const { content, text } = unwrapped
  if (!isObject(content) || eventProperties.some(name => Object.hasOwn(content, name))) return unwrapped
  for (const open of openers) {
    const inner = open(content, text)
    if (inner !== undefined)
      return takeOff(
        inner,
        openers.filter(other => other !== open),
      )
  }
  return unwrapped
}

type Open = (envelope: Envelope, text: () => string) => Unwrapped | undefined
type Envelope = Readonly<Record<string, unknown>>

function openNotification(envelope: Envelope): Unwrapped | undefined {
  const message = own(envelope, 'Message')
  if (own(envelope, 'Type') !== 'Notification' || typeof message !== 'string') return undefined
  return { content: parseJson(message), text: () => message }
}

function openEventBridgeEvent(envelope: Envelope, text: () => string): Unwrapped | undefined {
  const detail = own(envelope, 'detail')
  // EventBridge itself knows objects only; a transformer can make it an array, and keeps the event's type beside it.
  const isDetail = isObject(detail) || (Array.isArray(detail) && typeof own(envelope, 'detail-type') === 'string')
  if (!isDetail) return undefined
  return { content: detail, text: () => memberText(text(), 'detail') }
}

/** The source text of a member; of the last of that name, as JSON.parse takes it. */
function memberText(object: string, name: string): string {
  let found = object
  for (const member of elementTexts(object)) {
    const end = endOfString(member)
    if (JSON.parse(member.slice(0, end)) === name) found = member.slice(member.indexOf(':', end) + 1).trim()
  }
  return found
}

/** The place behind the JSON string that a text begins with. */
function endOfString(text: string): number {
  let index = 1
  while (text[index] !== '"') index += text[index] === '\\' ? 2 : 1
  return index + 1
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    // Its message quotes the body.
    return undefined
  }
}

function isObject(value: unknown): value is Envelope {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** JSON.parse makes own properties only, `__proto__` too; what an object inherits does not belong to the body. */
function own(envelope: Envelope, name: string): unknown {
  return Object.hasOwn(envelope, name) ? envelope[name] : undefined
}

const quote = 0x22
const comma = 0x2c
const backslash = 0x5c

/**
 * The source text of each element of a JSON array, exactly as it was sent. JSON.stringify of the parsed element would
 * lose digits of large numbers and repeated keys, and overflows the stack on deep nesting.
 *
 * @param body valid JSON whose outermost value is an array with at least one element; of an object, the members are given with their names
 */
function elementTexts(body: string): string[] {
  const texts: string[] = []
  let depth = 0
  let start = 0
  let inString = false
  for (let index = 0; index < body.length; index++) {
    const unit = body.charCodeAt(index)
    if (inString) {
      if (unit === backslash) index++
      else if (unit === quote) inString = false
    } else if (unit === quote) inString = true
    else if (isOpening(unit)) {
      depth++
      if (depth === 1) start = index + 1
    } else if (isClosing(unit)) {
      depth--
      if (depth === 0) texts.push(body.slice(start, index).trim())
    } else if (unit === comma && depth === 1) {
      texts.push(body.slice(start, index).trim())
      start = index + 1
    }
  }
  return texts
}

/** `[` or `{`. */
function isOpening(unit: number): boolean {
  return unit === 0x5b || unit === 0x7b
}

/** `]` or `}`. */
function isClosing(unit: number): boolean {
  return unit === 0x5d || unit === 0x7d
}
