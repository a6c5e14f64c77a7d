import { packText } from '../../crypto/byte-column.ts'
import { nameToken } from '../../crypto/typed-token.ts'
import { type ErrorCode, TokenvaultError } from '../../errors.ts'
import { maxPageSize, type OpenAction } from '../admission/open-action.ts'
import type { AuditEvent, Charge, Principal } from '../admission/ports.ts'
import { type FieldSchema, normalizeValue } from '../fields/fields.ts'
import type { FieldKeys } from '../keys/field-keys.ts'
import { limitsOf, may, type Policy } from '../policy/policy.ts'
import type { RelatedTokens } from '../tokens/ports.ts'
import { readToken } from '../tokens/read-token.ts'
import { type Criteria, parseTimestamp, type TextCriterion, textCriteria } from './criteria.ts'
import { type FoundEvents, findEvents } from './find-events.ts'
import type { AuditSearch } from './ports.ts'

/**
 * What is looked for: events that meet all of it. With `token` or `value`, `field` names the field of these, and asks nothing more
 * of an event; alone it asks for events that are about the field.
 */
export interface Sought extends Readonly<Partial<Record<TextCriterion, string>>> {
  readonly token?: string
  /** Any of the tokens that it has. */
  readonly value?: string
  /** RFC 3339 with an offset: events of this time and later, and earlier than that. */
  readonly from?: string
  readonly to?: string
}

export interface SearchRequest {
  readonly requestId: string
  readonly purpose: string
  readonly where: Sought
  /** Only events of a smaller sequence. */
  readonly before?: number | undefined
  readonly limit: number
}

/**
 * Events that meet all criteria, newest first: who asked for a value under any of its tokens, what a principal did, what was done for
 * a ticket. A search is an event that says what it was for, with token and value by keyed digest like all of them.
 *
 * @throws TokenvaultError `purpose_missing`, `purpose_invalid`, `request_invalid` where nothing is looked for, the text is not a
 *   token, the field is not configured or the value not of its shape, a time is not one or the window empty; `role_not_permitted`,
 *   `budget_exceeded`, `principal_suspended`, `audit_unavailable`, `store_unavailable`; `audit_invalid` where an event was altered
 */
export type SearchAudit = (principal: Principal, request: SearchRequest) => Promise<FoundEvents>

/** @returns the verb; the index stands behind its port */
export function createSearchAudit(deps: {
  readonly fields: FieldSchema
  readonly keys: FieldKeys
  readonly search: AuditSearch
  /** Tokens of rotated keys; without it each token is looked for alone. */
  readonly related?: RelatedTokens
  readonly openAction: OpenAction
}): SearchAudit {
  const { fields, keys, search, related, openAction } = deps
  return async (principal, { requestId, purpose, where, before, limit }) => {
    const call = { operation: 'audit_search', principal, requestId, purpose, needs: 'audit' } as const
    const { policy, record } = await openAction(call)
    const tokens = await withRelated(related, where, tokensOf(where, fields, keys))
    const criteria = readCriteria(where, tokens && keys.digests.flatMap(digest => digest.digest(tokens)))
    const found = await findEvents(search, criteria, before, Math.min(limit, maxPageSize))
    // A search by value may be a guess: an event that names its token says that the guess was right.
    const charge = where.value === undefined ? undefined : chargeOfGuess(policy, principal)
    await record({
      grantedTokens: tokens ?? [],
      charge,
      sought: describeSought(where, criteria, name => found.events.length > 0 || fields.get(name) !== undefined),
    })
    return found
  }
}

/** One value, against the budget of the roles that make an auditor of the caller. */
function chargeOfGuess(policy: Policy, { roles }: Principal): Charge {
  const auditing = roles.filter(role => may(policy, [role], 'audit'))
  const { perMinute, perDay } = limitsOf(policy, auditing)
  return { values: 1, perMinute, perDay }
}

/** Texts that are tokens, and not of one field. */
const notFound: ReadonlyMap<ErrorCode, string> = new Map([
  ['token_field_missing', 'token is a UUID or an address: send it with its field'],
  ['token_field_mismatch', 'token is of another field'],
])

/** Every token that stands, or stood, for what is looked for: a value has one under each version of its field's key. */
function tokensOf(where: Sought, fields: FieldSchema, keys: FieldKeys): readonly string[] | undefined {
  const { token, value } = where
  if (token !== undefined) {
    if (value !== undefined)
      throw new TokenvaultError(
        'request_invalid',
        'where takes either token, with its field where it does not name it, or field and value',
      )
    const read = readToken(where.field === undefined ? token : { field: where.field, token })
    if ('code' in read) throw new TokenvaultError('request_invalid', notFound.get(read.code) ?? 'token is not a token')
    return [read.identity]
  }
  if (value === undefined) return undefined
  const field = fields.get(where.field ?? '')
  if (field === undefined) throw new TokenvaultError('request_invalid', 'value needs a field that this vault tokenizes')
  const normalized = normalizeValue(field, value, fields)
  if (typeof normalized !== 'string') {
    if (normalized.code === 'value_is_token')
      throw new TokenvaultError('request_invalid', 'value is a token: send it as token, without value')
    throw new TokenvaultError('request_invalid', 'value does not have the form that its field requires')
  }
  const tokens = keys.tokenKeys(field.name).flatMap(key => key.tokensOf(packText([normalized]), field))
  return tokens.map(token => nameToken(field, token))
}

/** A token of a rotated key stands for the same value as its successor: events of either are about both. */
async function withRelated(
  related: RelatedTokens | undefined,
  { token, field }: Sought,
  tokens: readonly string[] | undefined,
): Promise<readonly string[] | undefined> {
  if (related === undefined || token === undefined || tokens === undefined) return tokens
  const read = readToken(field === undefined ? token : { field, token })
  if ('code' in read) return tokens
  const others = await related.findRelated(read.field, read.id)
  return [...new Set([...tokens, ...others.map(other => nameToken({ name: read.field, format: read.format }, other))])]
}

/** @throws TokenvaultError `request_invalid` */
function readCriteria(where: Sought, digests: readonly string[] | undefined): Criteria {
  const texts = textCriteria.filter(name => where[name] !== undefined && (name !== 'field' || digests === undefined))
  const from = where.from === undefined ? undefined : parseTimestamp('from', where.from)
  const to = where.to === undefined ? undefined : parseTimestamp('to', where.to)
  if (from !== undefined && to !== undefined && from >= to)
    throw new TokenvaultError('request_invalid', 'to is not later than from')
  if (digests === undefined && texts.length === 0 && from === undefined && to === undefined)
    throw new TokenvaultError('request_invalid', 'where names nothing to look for')
  return {
    ...Object.fromEntries(texts.map(name => [name, where[name]])),
    ...(digests === undefined ? {} : { digests }),
    ...(from === undefined ? {} : { from }),
    ...(to === undefined ? {} : { to }),
  }
}

/** Who a principal, actor or application is may be any text: these stand in the event where the log, or our settings, have them. */
const freeTexts: ReadonlySet<string> = new Set([
  'subject',
  'issuer',
  'actor',
  'actorIssuer',
  'client',
  'field',
  'person',
])

/** What the event says of a search: each criterion, with its text unless that could be a value. */
function describeSought(where: Sought, criteria: Criteria, isKnown: (text: string) => boolean): AuditEvent['sought'] {
  const kinds = (['token', 'value'] as const).flatMap(name =>
    where[name] === undefined ? [] : [[name, true] as const],
  )
  const named = textCriteria.flatMap(name => {
    const text = where[name]
    return text === undefined ? [] : [[name, freeTexts.has(name) && !isKnown(text) ? true : text] as const]
  })
  const times = (['from', 'to'] as const).flatMap(name => {
    const time = criteria[name]
    return time === undefined ? [] : [[name, new Date(time).toISOString()] as const]
  })
  return Object.fromEntries([...kinds, ...named, ...times])
}
