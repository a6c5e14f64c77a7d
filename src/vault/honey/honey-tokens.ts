import { randomUUID } from 'node:crypto'
import { nameToken } from '../../crypto/typed-token.ts'
import { TokenvaultError } from '../../errors.ts'
import type { OpenAction } from '../admission/open-action.ts'
import { maxPageSize } from '../admission/open-action.ts'
import type { Principal } from '../admission/ports.ts'
import type { FieldSchema } from '../fields/fields.ts'
import type { OriginalReader, OriginalWriter, TokenizedValue } from '../tokens/ports.ts'
import type { Tokenizer } from '../tokens/tokenizer.ts'
import { inventValue } from './invent-values.ts'
import type { HoneyStore, HoneyToken } from './ports.ts'

/** Most honey tokens of one call. */
export const maxHoneyAtOnce = 100

/** One that was made, with the value that was invented for it. */
export interface MadeHoneyToken {
  readonly id: string
  readonly token: string
  readonly value: string
}

/**
 * Makes, lists and retires honey tokens. All take the capability `honey`, and are evidence before anything is told; the
 * events name no token, so that who searches the evidence does not learn which these are.
 *
 * All throw TokenvaultError `role_not_permitted`, `principal_suspended`, `audit_unavailable`, `store_unavailable`.
 */
export interface HoneyVerbs {
  /**
   * Invents values that the vault does not hold, and stores them as any value is stored.
   *
   * @param request.count 1 to 100
   * @param request.like a value whose form they take
   * @throws `storing_off`; `request_invalid` where the field is not configured or derived from another, or where values of
   *   that form are none of the field
   */
  create(
    principal: Principal,
    request: {
      readonly requestId: string
      readonly field: string
      readonly count: number
      readonly note: string
      readonly like?: string | undefined
    },
  ): Promise<readonly MadeHoneyToken[]>
  /** Newest first; `before` is the id of the last one of the page before. */
  list(
    principal: Principal,
    request: { readonly requestId: string; readonly before?: string | undefined; readonly limit: number },
  ): Promise<readonly HoneyToken[]>
  /** Nobody who meets it is told of any more; it stays a token like others. @throws `honey_unknown` */
  retire(principal: Principal, request: { readonly requestId: string; readonly id: string }): Promise<void>
}

export interface HoneyDependencies {
  readonly fields: FieldSchema
  readonly store: HoneyStore
  readonly originals: OriginalReader
  /** What values are stored with; absent where this process stores none. */
  readonly storing?: { readonly tokenizer: Tokenizer; readonly writer: OriginalWriter } | undefined
  readonly openAction: OpenAction
  /** Has what was made or retired taken up by this process at once. Never throws. */
  readonly refresh: () => Promise<void>
}

/** @returns the verbs; honey tokens and originals stand behind the ports of `deps` */
export function createHoneyVerbs(deps: HoneyDependencies): HoneyVerbs {
  const { fields, store, storing, openAction, refresh } = deps
  const needs = 'honey'
  return {
    async create(principal, { requestId, field: name, count, note, like }) {
      const call = { operation: 'honey_create', principal, requestId, requested: count, needs } as const
      const { record, refuse } = await openAction(call)
      const field = fields.get(name)
      if (field === undefined || 'derivedFrom' in field)
        return refuse('request_invalid', 'field is not one whose values this vault takes')
      if (storing === undefined) return refuse('storing_off')
      const made = await invent(deps, storing.tokenizer, () => inventValue(field, like), { field: name, count })
      const { issuer, subject } = principal
      const inserted = await storing.writer.insert(made.map(({ original }) => original))
      try {
        await record()
        // Watched before there is anything to open: an original without a watch would be a trap that never closes.
        await store.insert(made.map(({ id, token }) => ({ id, field: name, token, note, issuer, subject })))
      } catch (error) {
        await inserted.abandon()
        throw error
      }
      await inserted.commit()
      await refresh()
      return made.map(({ id, token, value }) => ({ id, token, value }))
    },

    async list(principal, { requestId, before, limit }) {
      const { record } = await openAction({ operation: 'honey_list', principal, requestId, needs })
      const listed = await store.list({ before, limit: Math.min(limit, maxPageSize) })
      await record()
      return listed
    },

    async retire(principal, { requestId, id }) {
      const { record } = await openAction({ operation: 'honey_retire', principal, requestId, needs })
      await record()
      if (!(await store.retire(id))) throw new TokenvaultError('honey_unknown')
      await refresh()
    },
  }
}

/** Tries for as many values as are asked for; a form that has hardly more values than that is told. */
async function invent(
  { originals }: Pick<HoneyDependencies, 'originals'>,
  tokenizer: Tokenizer,
  inventOne: () => string,
  { field, count }: { readonly field: string; readonly count: number },
): Promise<readonly (TokenizedValue & { readonly id: string; readonly value: string })[]> {
  const made = new Map<string, TokenizedValue & { readonly id: string; readonly value: string }>()
  for (let tries = 0; made.size < count; tries++) {
    if (tries === 5)
      throw new TokenvaultError(
        'request_invalid',
        'values of the form of `like` are none of the field, or too few of them are free',
      )
    const values = Array.from({ length: count - made.size }, inventOne)
    const tokenized = tokenizer.tokenizeValues(field, values)
    const ids = tokenized.flatMap(each => ('original' in each ? [each.original.tokenId] : []))
    const known = await originals.findOriginals(ids)
    for (const [index, each] of tokenized.entries()) {
      if ('code' in each || known.has(each.original.tokenId)) continue
      made.set(each.token, { ...each, id: randomUUID(), value: values[index]! })
    }
  }
  return [...made.values()]
}

/** As the tokens that an action grants are named: a typed token says nothing of its field. */
export function nameWatched(fields: FieldSchema, { field, token }: { readonly field: string; readonly token: string }) {
  const known = fields.get(field)
  return known === undefined ? token : nameToken(known, token)
}
