import type { ClearColumn } from '../../vault/fields/clear-columns.ts'
import { isPointerToS3, openLayer, type Part, partWithin, readPart } from './envelopes.ts'
import { elementTexts } from './json-text.ts'
import { type EventField, type LoginEvent, type RejectReason, readLoginEvent } from './login-event.ts'

/** One body, taken apart. Everything that it holds stands in exactly one of the two lists, numbered as it stands in the body. */
export interface ParsedBody {
  readonly events: readonly { readonly eventIndex: number; readonly event: LoginEvent }[]
  readonly rejects: readonly { readonly eventIndex: number; readonly reason: RejectReason }[]
  /** For the quarantine, the source text of the element that holds it; the whole body where no array is around it. */
  readonly textOf: (eventIndex: number) => string
}

/** Arrays, envelopes and JSON texts inside one another. The longest chain that AWS makes by itself has five. */
const maxLayers = 8

/**
 * Parses a message body: one event, or an array of events, as such or in envelopes and JSON texts, wherever these stand. An
 * element that is not an event never blocks its neighbours. Never throws, and lets nothing of JSON.parse's message out, because
 * it quotes the body.
 *
 * @param fields the event's properties to tokenize
 * @param clear those that are stored in clear besides
 */
export function parseBody(body: string, fields: readonly EventField[], clear: readonly ClearColumn[] = []): ParsedBody {
  const events: { eventIndex: number; event: LoginEvent }[] = []
  const rejects: { eventIndex: number; reason: RejectReason }[] = []
  const sources: (() => string)[] = []
  const takeApart = (part: Part, layersLeft: number, source: () => string): void => {
    const found = readOne(part, layersLeft, fields, clear)
    if (Array.isArray(found)) {
      for (const element of found) takeApart(element, layersLeft - 1, element.text)
    } else if (typeof found === 'object' && 'content' in found) takeApart(found, layersLeft - 1, source)
    else {
      const eventIndex = sources.push(source) - 1
      if (typeof found === 'string') rejects.push({ eventIndex, reason: found })
      else events.push({ eventIndex, event: found })
    }
  }
  takeApart(readPart(body), maxLayers, () => body)
  return { events, rejects, textOf: eventIndex => sources[eventIndex]?.() ?? body }
}

/** @returns the event, why it is none, what stands in the layer that was opened, or the elements of an array */
function readOne(
  part: Part,
  layersLeft: number,
  fields: readonly EventField[],
  clear: readonly ClearColumn[],
): LoginEvent | RejectReason | Part | Part[] {
  const { content } = part
  if (content === undefined) return 'json_invalid'
  if (isPointerToS3(content)) return 'payload_in_s3'
  if (Array.isArray(content)) {
    if (content.length === 0) return 'array_empty'
    return layersLeft === 0 ? 'layers_too_many' : elementsOf(part, content)
  }
  const inner = openLayer(part)
  if (typeof inner === 'object') return layersLeft === 0 ? 'layers_too_many' : inner
  if (inner !== undefined || part.repeats) return 'name_repeated'
  return readLoginEvent(content, fields, clear)
}

function elementsOf(part: Part, content: readonly unknown[]): Part[] {
  // Only those of rejects are ever asked for, and most bodies have none.
  let texts: readonly string[] | undefined
  const textOf = (index: number) => {
    texts ??= elementTexts(part.text())
    return texts[index]!
  }
  return content.map((element, index) => partWithin(part, element, () => textOf(index)))
}
