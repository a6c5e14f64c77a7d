import type { LoginRow, MessageEffect, QuarantinedEvent, ReceivedMessage, TokenizedValue } from '../vault/ports.ts'
import type { Tokenizer } from '../vault/tokenizer.ts'
import type { LoginEvent, RejectReason } from './login-event.ts'
import { parseBody } from './parse.ts'

interface Draft {
  readonly messageId: string
  readonly sentOn: string
  readonly rows: LoginRow[]
  readonly quarantined: QuarantinedEvent[]
}

interface Reject {
  readonly draft: Draft
  readonly eventIndex: number
  readonly reason: RejectReason
  readonly text: string
}

/**
 * Turns messages into what the store commits: one effect a message id, in order of first appearance. A message that
 * stands twice in the batch gives one effect, and one that was sent again gives it under its first id. Works on columns: one tokenizer call a field for the whole batch, one
 * sealing call for everything that is no event.
 *
 * @throws what the tokenizer throws: TokenvaultError `keyset_incomplete`, `field_unknown`
 */
export function handleBatch(
  messages: readonly Pick<ReceivedMessage, 'messageId' | 'body' | 'sentAtMs' | 'origin'>[],
  tokenizer: Tokenizer,
): MessageEffect[] {
  const fields = [...tokenizer.fields.keys()]
  const drafts = new Map<string, Draft>()
  const rejects: Reject[] = []
  const candidates: { draft: Draft; eventIndex: number; event: LoginEvent; textOf: (eventIndex: number) => string }[] =
    []

  for (const { body, ...message } of messages) {
    const { messageId, sentAtMs } = message.origin ?? message
    if (drafts.has(messageId)) continue
    const draft: Draft = { messageId, sentOn: utcDay(sentAtMs), rows: [], quarantined: [] }
    drafts.set(messageId, draft)
    const { events, rejects: refused, textOf } = parseBody(body, fields)
    for (const { eventIndex, event } of events) candidates.push({ draft, eventIndex, event, textOf })
    for (const { eventIndex, reason } of refused) rejects.push({ draft, eventIndex, reason, text: textOf(eventIndex) })
  }

  const columns = fields.map((field, place) =>
    // Every event has one value a field, in this order.
    tokenizer.tokenizeValues(
      field,
      candidates.map(({ event }) => event.values[place]!),
    ),
  )
  for (const [index, { draft, eventIndex, event, textOf }] of candidates.entries()) {
    const tokens: TokenizedValue[] = []
    let reason: RejectReason | undefined
    for (const [place, field] of fields.entries()) {
      const result = columns[place]![index]!
      if ('token' in result) tokens.push(result)
      else reason ??= result.code === 'value_too_long' ? `${field}_too_long` : `${field}_invalid`
    }
    if (reason !== undefined) {
      rejects.push({ draft, eventIndex, reason, text: textOf(eventIndex) })
      continue
    }
    const { userId, deviceType, locale, appVersion } = event
    draft.rows.push({ userId, deviceType, locale, appVersion, createDate: draft.sentOn, tokens })
  }

  const sealed = rejects.length === 0 ? [] : tokenizer.sealForQuarantine(rejects.map(({ text }) => text))
  for (const [index, { draft, eventIndex, reason }] of rejects.entries()) {
    draft.quarantined.push({ ...sealed[index]!, eventIndex, reason })
  }
  return [...drafts.values()]
}

/** YYYY-MM-DD of a time in milliseconds since 1970. */
function utcDay(timeMs: number): string {
  return new Date(timeMs).toISOString().slice(0, 10)
}
