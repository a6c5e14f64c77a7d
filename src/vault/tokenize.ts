import { packText } from '../crypto/byte-column.ts'
import { type ErrorCode, TokenvaultError } from '../errors.ts'
import type { RecordAct } from './audit.ts'
import type { FieldKeys } from './field-keys.ts'
import type { Field, FieldSchema } from './fields.ts'
import { checkBatchSize, checkPurpose, type Permit, permittedFields } from './policy.ts'
import type { Principal } from './ports.ts'
import { normalizeValue } from './tokenizer.ts'

export interface TokenizeRequest {
  readonly requestId: string
  readonly purpose: string
  readonly values: readonly { readonly field: string; readonly value: string }[]
}

/** The answer for one value, in input order; the value itself is never repeated. */
export type TokenizedItem =
  | { readonly field: string; readonly token: string }
  | { readonly field: string; readonly error: { readonly code: ErrorCode } }

/**
 * Gives the tokens of values, so that a permitted caller can look for them in user_logins. It stores nothing.
 * Privileged like detokenize: whoever may tokenize at will can find an IPv4 address by trying all of them.
 *
 * @throws TokenvaultError `purpose_missing`, `purpose_invalid`, `batch_empty`, `batch_too_large`,
 *   `role_not_permitted`, `audit_unavailable`
 */
export type Tokenize = (principal: Principal, request: TokenizeRequest) => Promise<readonly TokenizedItem[]>

/** @returns the verb; the audit log stands behind `deps.recordAct` */
export function createTokenize(deps: {
  readonly fields: FieldSchema
  readonly keys: FieldKeys
  readonly recordAct: RecordAct
  /** The policy; that of this version when absent. */
  readonly permit?: Permit
}): Tokenize {
  const { fields, keys, recordAct, permit = permittedFields } = deps
  return async (principal, { requestId, purpose, values }) => {
    checkPurpose(purpose)
    checkBatchSize(values.length)
    const permitted = permit(principal.roles, 'tokenize', fields)
    const act = { operation: 'tokenize', principal, requestId, purpose, requested: values.length } as const
    if (permitted.size === 0) {
      await recordAct({ ...act, grantedTokens: [], withheld: [], refusal: 'role_not_permitted' })
      throw new TokenvaultError('role_not_permitted')
    }

    const items = new Array<TokenizedItem>(values.length)
    const places = new Map<string, { index: number; normalized: string }[]>()
    for (const [index, { field: name, value }] of values.entries()) {
      const field = fields.get(name)
      const normalized = normalizePermitted(field, permitted, value)
      if (typeof normalized !== 'string') {
        items[index] = { field: name, error: normalized }
        continue
      }
      const found = places.get(name) ?? []
      found.push({ index, normalized })
      places.set(name, found)
    }
    for (const [field, found] of places) {
      const mint = keys.mint(field, keys.primaryVersion('token', field))!
      const { tokens } = mint.mint(packText(found.map(({ normalized }) => normalized)))
      for (const [order, { index }] of found.entries()) items[index] = { field, token: tokens[order]! }
    }

    const grantedTokens = items.flatMap(item => ('token' in item ? [item.token] : []))
    const withheld = items.flatMap(item => ('error' in item ? [item.error.code] : []))
    await recordAct({ ...act, grantedTokens, withheld })
    return items
  }
}

function normalizePermitted(
  field: Field | undefined,
  permitted: ReadonlySet<string>,
  value: string,
): string | { code: ErrorCode } {
  if (field === undefined) return { code: 'field_unknown' }
  return permitted.has(field.name) ? normalizeValue(field, value) : { code: 'field_not_permitted' }
}
