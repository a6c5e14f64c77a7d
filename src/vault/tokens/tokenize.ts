import { nameToken } from '../../crypto/typed-token.ts'
import type { ErrorCode } from '../../errors.ts'
import type { Receipt } from '../../tlog/receipt.ts'
import type { ActionOutcome } from '../admission/audit-event.ts'
import { type AnySigner, signReceiptOf } from '../admission/log-signer.ts'
import type { OpenAction } from '../admission/open-action.ts'
import type { CommittedAction, Principal } from '../admission/ports.ts'
import type { FieldSchema } from '../fields/fields.ts'
import type { FieldKeys } from '../keys/field-keys.ts'
import { decideCall, limitsOfCall, type Policy, storesByDefault } from '../policy/policy.ts'
import { countByField } from './count-by-field.ts'
import { type FieldValue, lookUpTokens, sealTokens, type TokenizedItem } from './make-tokens.ts'
import type { OriginalWriter, SealedOriginal } from './ports.ts'
import type { Tokenizer } from './tokenizer.ts'

export interface TokenizeRequest {
  readonly requestId: string
  readonly purpose: string
  readonly values: readonly FieldValue[]
  /** Whether the originals are stored; what the policy says for the caller where absent. */
  readonly store?: boolean | undefined
  /** All or nothing; each item on its own where absent. */
  readonly atomic?: boolean | undefined
  /** Under which the caller acts. */
  readonly ticket?: string | undefined
}

/** `refused`: the call was atomic and an item failed, so only the failures are told and nothing is stored. */
export type TokenizeResult =
  | {
      readonly outcome: 'complete'
      readonly stored: boolean
      readonly items: readonly TokenizedItem[]
      readonly receipt: Receipt
    }
  | { readonly outcome: 'refused'; readonly failures: readonly { readonly index: number; readonly code: ErrorCode }[] }

/**
 * Gives the tokens of values, and stores their originals where the call asks for it. Without that, a permitted caller can
 * look for the tokens in user_logins, and the vault need not hold them.
 *
 * Privileged like detokenize, and charged to the same budget, whether or not it stores: whoever may tokenize at will can
 * find an IPv4 address by trying all of them.
 *
 * Storing is idempotent by nature: an equal value has an equal token, of which the vault keeps one original. A caller whose
 * reply was lost repeats the call.
 *
 * @throws TokenvaultError `purpose_missing`, `purpose_invalid`, `ticket_invalid`, `batch_empty`, `batch_too_large`,
 *   `role_not_permitted`, `purpose_not_permitted`, `ticket_required`, `batch_over_role_limit`, `budget_exceeded`,
 *   `principal_suspended`, `audit_unavailable`; where it stores also `storing_off`, `token_collision`,
 *   `store_unavailable`, `store_misconfigured`
 */
export type Tokenize = (principal: Principal, request: TokenizeRequest) => Promise<TokenizeResult>

export interface TokenizeDependencies {
  readonly fields: FieldSchema
  readonly keys: FieldKeys
  readonly openAction: OpenAction
  /** Signs the receipts. */
  readonly signer: AnySigner
  /** What values are stored with; absent where this process stores none. */
  readonly storing?: { readonly tokenizer: Tokenizer; readonly writer: OriginalWriter } | undefined
}

/** @returns the verb; the writer stands behind its port */
export function createTokenize(deps: TokenizeDependencies): Tokenize {
  const { fields, openAction, signer, storing } = deps
  return async (principal, request) => {
    const { requestId, purpose, values, ticket, atomic } = request
    const call = { operation: 'tokenize', principal, requestId, purpose, ticket, requested: values.length } as const
    const { policy, record, refuse } = await openAction(call)
    const asked = values.map(({ field }) => field)
    const names = new Set(asked)
    const question = { roles: principal.roles, purpose, hasTicket: ticket !== undefined } as const
    const stores = request.store ?? storesByDefault(policy, fields, { ...question, named: names })
    const { byField, refusal } = decideCall(policy, fields, { ...question, operation: stores ? 'store' : 'tokenize' })
    const mode = stores ? 'store' : 'look_up'
    const noneGiven = { mode, fields: countByField(byField, asked, []) } as const
    if (refusal !== undefined) return refuse(refusal, undefined, noneGiven)
    if (stores && storing === undefined) return refuse('storing_off', undefined, noneGiven)
    const { batchLimit, ...budget } = limitsOf(policy, byField, names)
    if (values.length > batchLimit)
      return refuse('batch_over_role_limit', `at most ${batchLimit} items in one call`, noneGiven)

    const { items, originals } =
      stores && storing !== undefined
        ? sealTokens(storing.tokenizer, byField, values)
        : { items: lookUpTokens(deps, byField, values), originals: [] }
    const failures = items.flatMap((item, index) => ('error' in item ? [{ index, code: item.error.code }] : []))
    const withheld = failures.map(({ code }) => code)
    if (atomic && failures.length > 0) {
      await record({ ...noneGiven, withheld, charge: { values: 0 }, refusal: 'batch_refused' })
      return { outcome: 'refused', failures }
    }
    const given = items.filter(item => 'token' in item)
    const grantedTokens = given.map(({ field, token }) => nameToken(fields.get(field)!, token))
    const charge = { values: new Set(grantedTokens).size, ...budget }
    const counts = countByField(
      byField,
      asked,
      given.map(({ field }) => field),
    )
    const outcome: ActionOutcome = { mode, fields: counts, grantedTokens, withheld, charge }
    const committed = await recordStored(storing?.writer, originals, () => record(outcome))
    return { outcome: 'complete', stored: stores, items, receipt: await signReceiptOf(signer, committed) }
  }
}

/** Of the fields that the call names; of all permitted ones where it names none of those. */
function limitsOf(policy: Policy, byField: ReturnType<typeof decideCall>['byField'], names: ReadonlySet<string>) {
  const named = [...names].flatMap(field => byField.get(field) ?? [])
  const isGranted = named.some(({ grantedBy }) => grantedBy.length > 0)
  const { batchLimit, perMinute, perDay } = limitsOfCall(policy, isGranted ? named : byField.values())
  return { batchLimit, perMinute, perDay }
}

/**
 * Inserts, records, and commits what was inserted, in this order: nothing is stored without its event, and an event that is
 * refused stores nothing. Where the last step fails, the event says more than happened, and the caller is told to repeat.
 */
async function recordStored(
  writer: OriginalWriter | undefined,
  originals: readonly SealedOriginal[],
  record: () => Promise<CommittedAction>,
): Promise<CommittedAction> {
  if (writer === undefined || originals.length === 0) return record()
  const inserted = await writer.insert(originals)
  let committed: CommittedAction
  try {
    committed = await record()
  } catch (error) {
    await inserted.abandon()
    throw error
  }
  await inserted.commit()
  return committed
}
