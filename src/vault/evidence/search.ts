import { packText } from '../../crypto/byte-column.ts'
import { nameToken } from '../../crypto/typed-token.ts'
import { type ErrorCode, TokenvaultError } from '../../errors.ts'
import { leafHash } from '../../tlog/merkle.ts'
import { maxPageSize, type OpenAction } from '../admission/open-action.ts'
import type { AuditEvent, Charge, FieldCounts, Principal } from '../admission/ports.ts'
import { type FieldSchema, normalizeValue } from '../fields/fields.ts'
import type { FieldKeys } from '../keys/field-keys.ts'
import { limitsOf, may, type Policy } from '../policy/policy.ts'
import { readToken } from '../tokens/read-token.ts'
import type { AuditSearch, StoredEvent } from './ports.ts'

/** Most events that are held in memory in full. */
const eventsAtOnce = 100

/** What is looked for: a token, with its field where it does not name it itself, or whatever tokens a value has. */
export type Sought =
  | { readonly token: string; readonly field?: string | undefined }
  | { readonly field: string; readonly value: string }

export interface SearchRequest {
  readonly requestId: string
  readonly purpose: string
  readonly sought: Sought
  /** Only events of a smaller sequence. */
  readonly before?: number | undefined
  readonly limit: number
}

/** An event that names what was looked for. Whatever of it is not of the expected type is left out. */
export type FoundEvent = Partial<Omit<AuditEvent, 'format' | 'tokens' | 'withheld' | 'quarantine'>> & {
  /** Absent in events of the first format. */
  readonly format?: number
  readonly sequence: number
  /** base64. */
  readonly leafHash: string
}

/**
 * Who ever asked for a token, or for a value under any of its tokens: events that name it, newest first. A search is an event that
 * names what it looked for too, by keyed digest like all of them: neither token nor value is on record.
 *
 * @throws TokenvaultError `purpose_missing`, `purpose_invalid`, `request_invalid` where the text is not a token, the field
 *   is not configured or the value not of its shape; `role_not_permitted`, `budget_exceeded`, `principal_suspended`,
 *   `audit_unavailable`, `store_unavailable`; `audit_invalid` where an event was altered
 */
export type SearchAudit = (principal: Principal, request: SearchRequest) => Promise<readonly FoundEvent[]>

/** @returns the verb; the index stands behind its port */
export function createSearchAudit(deps: {
  readonly fields: FieldSchema
  readonly keys: FieldKeys
  readonly search: AuditSearch
  readonly openAction: OpenAction
}): SearchAudit {
  const { fields, keys, search, openAction } = deps
  return async (principal, { requestId, purpose, sought, before, limit }) => {
    const call = { operation: 'audit_search', principal, requestId, purpose, needs: 'audit' } as const
    const { policy, record } = await openAction(call)
    const tokens = tokensOf(sought, fields, keys)
    const digests = keys.digests.flatMap(digest => digest.digest(tokens))
    const found = await findAll(search, digests, before, Math.min(limit, maxPageSize))
    // A search by value may be a guess: an event that names its token says that the guess was right.
    const charge = 'value' in sought ? chargeOfGuess(policy, principal) : undefined
    await record({ grantedTokens: tokens, charge })
    return found
  }
}

/** One value, against the budget of the roles that make an auditor of the caller. */
function chargeOfGuess(policy: Policy, { roles }: Principal): Charge {
  const auditing = roles.filter(role => may(policy, [role], 'audit'))
  const { perMinute, perDay } = limitsOf(policy, auditing)
  return { values: 1, perMinute, perDay }
}

/** Few at a time: an event about 10,000 tokens has a quarter of a megabyte, of which one line is shown. */
async function findAll(
  search: AuditSearch,
  digests: readonly string[],
  before: number | undefined,
  limit: number,
): Promise<readonly FoundEvent[]> {
  const found: FoundEvent[] = []
  for (let next = before; ; ) {
    const wanted = Math.min(limit - found.length, eventsAtOnce)
    const events = await search.findEvents(digests, { before: next, limit: wanted })
    found.push(...events.map(describeEvent))
    if (events.length < wanted || found.length === limit) return found
    next = events.at(-1)!.sequence
  }
}

/** Texts that are tokens, and not of one field. */
const notFound: ReadonlyMap<ErrorCode, string> = new Map([
  ['token_field_missing', 'token is a UUID or an address: send it with its field'],
  ['token_field_mismatch', 'token is of another field'],
])

/** Every token that stands, or stood, for what is looked for: a value has one under each version of its field's key. */
function tokensOf(sought: Sought, fields: FieldSchema, keys: FieldKeys): readonly string[] {
  if ('token' in sought) {
    const { token, field } = sought
    const read = readToken(field === undefined ? token : { field, token })
    if ('code' in read) throw new TokenvaultError('request_invalid', notFound.get(read.code) ?? 'token is not a token')
    return [read.identity]
  }
  const field = fields.get(sought.field)
  if (field === undefined) throw new TokenvaultError('request_invalid', 'field is not one that this vault tokenizes')
  const normalized = normalizeValue(field, sought.value, fields)
  if (typeof normalized !== 'string') {
    if (normalized.code === 'value_is_token')
      throw new TokenvaultError('request_invalid', 'value is a token: send it as token, without value')
    throw new TokenvaultError('request_invalid', 'value does not have the form that its field requires')
  }
  const tokens = keys.tokenKeys(field.name).flatMap(key => key.tokensOf(packText([normalized]), field))
  return tokens.map(token => nameToken(field, token))
}

const texts = ['type', 'at', 'requestId', 'issuer', 'subject', 'client', 'jwt', 'channel', 'purpose', 'decision', 'code', 'mode', 'scheme', 'ticket', 'approval', 'policy', 'until'] // biome-ignore format: one list
const counts = ['format', 'requested', 'granted', 'partial', 'count']
const principals = ['actor', 'concerns']

/** Events are written by us, but whoever can write to the log without us must not keep the others from being read. */
function describeEvent({ sequence, event, leafHash: stored }: StoredEvent): FoundEvent {
  if (Buffer.compare(leafHash(event), stored) !== 0)
    throw new TokenvaultError('audit_invalid', `event ${sequence} was altered`)
  const members = new Map(Object.entries(parse(event)))
  const known = [
    ...texts.filter(name => typeof members.get(name) === 'string'),
    ...counts.filter(name => Number.isSafeInteger(members.get(name))),
    ...(isTextList(members.get('roles')) ? ['roles'] : []),
  ].map(name => [name, members.get(name)] as const)
  const described = [
    ...principals.map(name => [name, describePrincipal(members.get(name))] as const),
    ['fields', describeFields(members.get('fields'))] as const,
  ].filter(([, member]) => member !== undefined)
  return { ...Object.fromEntries([...known, ...described]), sequence, leafHash: Buffer.from(stored).toString('base64') }
}

function describePrincipal(member: unknown) {
  const { issuer, subject } = Object(member) as { issuer?: unknown; subject?: unknown }
  if (typeof subject !== 'string') return undefined
  return typeof issuer === 'string' ? { issuer, subject } : { subject }
}

/** The fields whose counts are whole. */
function describeFields(member: unknown): Record<string, FieldCounts> | undefined {
  if (typeof member !== 'object' || member === null || Array.isArray(member)) return undefined
  const fields = Object.entries(member).flatMap(([field, counted]) => {
    const { requested, granted, level } = Object(counted) as FieldCounts
    const isWhole = Number.isSafeInteger(requested) && Number.isSafeInteger(granted) && typeof level === 'string'
    return isWhole ? [[field, { requested, granted, level }] as const] : []
  })
  return Object.fromEntries(fields)
}

function parse(event: Uint8Array): object {
  try {
    return Object(JSON.parse(Buffer.from(event).toString('utf8')))
  } catch {
    return {}
  }
}

function isTextList(value: unknown): boolean {
  return Array.isArray(value) && value.every(entry => typeof entry === 'string')
}
