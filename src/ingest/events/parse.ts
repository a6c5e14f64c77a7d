import { type LoginEvent, type RejectReason, readLoginEvent } from './login-event.ts'
import { elementTexts, unwrap } from './unwrap.ts'

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
