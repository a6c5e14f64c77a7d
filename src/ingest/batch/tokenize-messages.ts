import type { ClearColumn } from '../../vault/fields/clear-columns.ts'
import { eventFields, type ValueRefused } from '../../vault/fields/fields.ts'
import type { QuarantinedEvent } from '../../vault/quarantine/ports.ts'
import type { SealQuarantined } from '../../vault/quarantine/sealed-bodies.ts'
import type { TokenizedValue } from '../../vault/tokens/ports.ts'
import type { Tokenizer } from '../../vault/tokens/tokenizer.ts'
import type { LoginEvent, RejectReason } from '../events/login-event.ts'
import { type ParsedBody, parseBody } from '../events/parse.ts'
import { loginId } from '../login-id.ts'
import type { AddressNetwork, LoginRow, ReceivedMessage, TokenizedMessage } from '../ports.ts'
import { createDeriveNetworks, type DeriveNetworks } from './derive-networks.ts'
import type { KnownAddresses } from './known-addresses.ts'

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

interface TokenizeOptions {
  /** Properties of events that are stored in clear besides. */
  readonly clear?: readonly ClearColumn[]
  /** Addresses that need no network any more. */
  readonly known?: Pick<KnownAddresses, 'has'>
}

/** What rows are made with. */
interface Making {
  readonly tokenizer: Tokenizer
  readonly names: readonly string[]
  readonly deriveNetworks: DeriveNetworks
}

/** Works on columns: one tokenizer call a field for the whole batch, one sealing call for everything that is not an event. */
export function createTokenizeMessages(
  tokenizer: Tokenizer,
  sealQuarantined: SealQuarantined,
  { clear = [], known }: TokenizeOptions = {},
): TokenizeMessages {
  const fields = eventFields(tokenizer.fields)
  const names = fields.map(({ name }) => name)
  const making = { tokenizer, names, deriveNetworks: createDeriveNetworks(tokenizer, known) }
  return messages => {
    const { drafts, candidates, rejects } = readBodies(messages, body => parseBody(body, fields, clear))
    rejects.push(...addRows(candidates, making))
    const kept = foldRejects(rejects)
    const sealed = kept.length === 0 ? [] : sealQuarantined(kept.map(({ text }) => text))
    for (const [index, { draft, eventIndex, reason }] of kept.entries()) {
      draft.quarantined.push({ ...sealed[index]!, eventIndex, reason })
    }
    return drafts
  }
}

function readBodies(messages: readonly SentMessage[], parse: (body: string) => ParsedBody) {
  const drafts = new Map<string, Draft>()
  const candidates: Candidate[] = []
  const rejects: Reject[] = []
  for (const { body, ...message } of messages) {
    const { messageId, sentAtMs } = message.firstIdentity ?? message
    if (drafts.has(messageId)) continue
    const draft: Draft = { messageId, sentOn: utcDay(sentAtMs), rows: [], quarantined: [] }
    drafts.set(messageId, draft)
    const { events, rejects: refused, textOf } = parse(body)
    for (const { eventIndex, event } of events) candidates.push({ draft, eventIndex, event, textOf })
    for (const { eventIndex, reason } of refused) rejects.push({ draft, eventIndex, reason, text: textOf(eventIndex) })
  }
  return { drafts: [...drafts.values()], candidates, rejects }
}

/** Gives the drafts their rows. @returns the events whose values a normalization rule refuses */
function addRows(candidates: readonly Candidate[], { tokenizer, names, deriveNetworks }: Making): Reject[] {
  const rejects: Reject[] = []
  const columns = names.map((name, place) =>
    // Every event has one place a field, in this order. What an empty text gives is not looked at.
    tokenizer.tokenizeValues(
      name,
      candidates.map(({ event }) => event.values[place] ?? ''),
    ),
  )
  const networks = deriveNetworks(columns, place => candidates.map(({ event }) => event.values[place]!))
  for (const [index, { draft, eventIndex, event, textOf }] of candidates.entries()) {
    const tokens: (TokenizedValue | null)[] = []
    let placeholders: string[] | undefined
    let reason: RejectReason | undefined
    for (const [place, name] of names.entries()) {
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
    draft.rows.push(asRow(draft, eventIndex, event, tokens, networks))
    if (placeholders === undefined) continue
    draft.placeholders ??= []
    draft.placeholders.push(...placeholders)
  }
  return rejects
}

function asRow(
  { messageId, sentOn }: Draft,
  eventIndex: number,
  { userId, deviceType, locale, appVersion, clear }: LoginEvent,
  tokens: LoginRow['tokens'],
  networks: ReadonlyMap<string, AddressNetwork>,
): LoginRow {
  const row = { userId, deviceType, locale, appVersion, createDate: sentOn, tokens }
  const fresh = networks.size === 0 ? [] : tokens.flatMap(value => networks.get(value?.token ?? '') ?? [])
  return {
    ...row,
    ...(fresh.length > 0 && { networks: fresh }),
    ...(clear && { loginId: loginId(messageId, eventIndex), clear }),
  }
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
