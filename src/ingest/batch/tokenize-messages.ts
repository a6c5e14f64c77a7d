import type { ValueRefused } from '../../vault/fields/fields.ts'
import type { QuarantinedEvent } from '../../vault/quarantine/ports.ts'
import type { SealQuarantined } from '../../vault/quarantine/sealed-bodies.ts'
import type { TokenizedValue } from '../../vault/tokens/ports.ts'
import type { Tokenizer } from '../../vault/tokens/tokenizer.ts'
import type { EventField, LoginEvent, RejectReason } from '../events/login-event.ts'
import { parseBody } from '../events/parse.ts'
import type { LoginRow, ReceivedMessage, TokenizedMessage } from '../ports.ts'

interface Draft {
  readonly messageId: string
  readonly sentOn: string
  readonly rows: LoginRow[]
  readonly quarantined: QuarantinedEvent[]
  placeholders?: string[]
}

/** Rejects of one message that get an entry each. */
const maxRejectsApart = 100

interface Candidate {
  readonly draft: Draft
  readonly eventIndex: number
  readonly event: LoginEvent
  readonly textOf: (eventIndex: number) => string
}

interface Reject {
  readonly draft: Draft
  readonly eventIndex: number
  readonly reason: RejectReason
  readonly text: string
}

/** What is read of a message: its body, and the identity under which it takes effect. */
export type SentMessage = Pick<ReceivedMessage, 'messageId' | 'body' | 'sentAtMs' | 'firstIdentity'>

/**
 * Turns messages into what the store commits: one tokenized message an id, in order of first appearance. One that stands
 * twice in the batch gives one, and one that was sent again gives it under its first identity.
 *
 * @throws what the tokenizer throws: TokenvaultError `keyset_incomplete`, `field_unknown`
 */
export type TokenizeMessages = (messages: readonly SentMessage[]) => TokenizedMessage[]

/** Works on columns: one tokenizer call a field for the whole batch, one sealing call for everything that is not an event. */
export function createTokenizeMessages(tokenizer: Tokenizer, sealQuarantined: SealQuarantined): TokenizeMessages {
  const fields = [...tokenizer.fields.values()]
  return messages => {
    const { drafts, candidates, rejects } = readBodies(messages, fields)
    rejects.push(...addRows(candidates, tokenizer, fields))
    const kept = foldRejects(rejects)
    const sealed = kept.length === 0 ? [] : sealQuarantined(kept.map(({ text }) => text))
    for (const [index, { draft, eventIndex, reason }] of kept.entries()) {
      draft.quarantined.push({ ...sealed[index]!, eventIndex, reason })
    }
    return drafts
  }
}

function readBodies(messages: readonly SentMessage[], fields: readonly EventField[]) {
  const drafts = new Map<string, Draft>()
  const candidates: Candidate[] = []
  const rejects: Reject[] = []
  for (const { body, ...message } of messages) {
    const { messageId, sentAtMs } = message.firstIdentity ?? message
    if (drafts.has(messageId)) continue
    const draft: Draft = { messageId, sentOn: utcDay(sentAtMs), rows: [], quarantined: [] }
    drafts.set(messageId, draft)
    const { events, rejects: refused, textOf } = parseBody(body, fields)
    for (const { eventIndex, event } of events) candidates.push({ draft, eventIndex, event, textOf })
    for (const { eventIndex, reason } of refused) rejects.push({ draft, eventIndex, reason, text: textOf(eventIndex) })
  }
  return { drafts: [...drafts.values()], candidates, rejects }
}

/** Gives the drafts their rows. @returns the events whose values a normalization rule refuses */
function addRows(candidates: readonly Candidate[], tokenizer: Tokenizer, fields: readonly EventField[]): Reject[] {
  const rejects: Reject[] = []
  const columns = fields.map(({ name }, place) =>
    // Every event has one place a field, in this order. What an empty text gives is not looked at.
    tokenizer.tokenizeValues(
      name,
      candidates.map(({ event }) => event.values[place] ?? ''),
    ),
  )
  for (const [index, { draft, eventIndex, event, textOf }] of candidates.entries()) {
    const tokens: (TokenizedValue | null)[] = []
    let placeholders: string[] | undefined
    let reason: RejectReason | undefined
    for (const [place, { name }] of fields.entries()) {
      const result = columns[place]![index]!
      if (event.values[place] === null) tokens.push(null)
      else if ('token' in result) tokens.push(result)
      else if (result.code === 'value_is_placeholder') {
        tokens.push(null)
        placeholders ??= []
        placeholders.push(name)
      } else reason ??= rejectReason(name, result)
    }
    if (reason !== undefined) {
      rejects.push({ draft, eventIndex, reason, text: textOf(eventIndex) })
      continue
    }
    const { userId, deviceType, locale, appVersion } = event
    draft.rows.push({ userId, deviceType, locale, appVersion, createDate: draft.sentOn, tokens })
    if (placeholders === undefined) continue
    draft.placeholders ??= []
    draft.placeholders.push(...placeholders)
  }
  return rejects
}

function rejectReason(field: string, { code }: ValueRefused): RejectReason {
  if (code === 'value_is_token') return code
  return code === 'value_too_long' ? `${field}_too_long` : `${field}_invalid`
}

/**
 * Keeps the first rejects of a message apart and the rest together, as one array in their order: a message of half a
 * million elements of two bytes each must not become as many rows.
 */
function foldRejects(rejects: readonly Reject[]): Reject[] {
  const kept: Reject[] = []
  const counts = new Map<Draft, number>()
  const folded = new Map<Draft, Reject[]>()
  for (const reject of rejects) {
    const count = (counts.get(reject.draft) ?? 0) + 1
    counts.set(reject.draft, count)
    if (count <= maxRejectsApart) kept.push(reject)
    else if (count === maxRejectsApart + 1) folded.set(reject.draft, [reject])
    else folded.get(reject.draft)!.push(reject)
  }
  for (const [draft, rest] of folded) {
    kept.push({
      draft,
      eventIndex: rest[0]!.eventIndex,
      reason: 'rejects_many',
      text: `[${rest.map(({ text }) => text).join(',')}]`,
    })
  }
  return kept
}

/** YYYY-MM-DD of a time in milliseconds since 1970. */
function utcDay(timeMs: number): string {
  return new Date(timeMs).toISOString().slice(0, 10)
}
