import { parseToken } from '../../crypto/token.ts'
import { nameToken, parseTypedToken, type TokenFormat } from '../../crypto/typed-token.ts'
import type { ErrorCode } from '../../errors.ts'
import type { Field } from '../fields/fields.ts'
import type { TokenId } from './ports.ts'

/** A token as a caller gives it: as it stands in its column, and with its field where it does not name it itself. */
export type TokenItem = string | { readonly field: string; readonly token: string }

/** A token that names its field. Nothing in it is authenticated yet. */
export interface SoughtToken {
  /** Equal for items that ask for the same value, however they are spelled, and for no others. By it, digests know the token. */
  readonly identity: string
  /** Whatever the caller named, or the token; configured or not. */
  readonly field: string
  readonly format: TokenFormat
  readonly id: TokenId
  /** Of text: the version that it names. */
  readonly keyVersion?: number
  /** Of an address: the network that it is in. */
  readonly inetPrefix?: string
}

/** Or why its text alone says that it is the token of no field. */
export type ReadToken =
  | SoughtToken
  | { readonly identity: string; readonly field?: undefined; readonly code: ErrorCode }

/** A token that no vault made. */
const decoy = 'device_id_v1_m3yTq9Zb1uWfJ0aXo7sPcQ'

/** Takes an item apart. */
export function readToken(item: TokenItem): ReadToken {
  const [named, text] = typeof item === 'string' ? [undefined, item] : [item.field, item.token]
  const parsed = parseToken(text)
  if (parsed !== undefined) {
    if (named !== undefined && named !== parsed.field) return refuse(item, 'token_field_mismatch')
    return { ...parsed, identity: text, format: 'text' as const }
  }
  // Text that is not a token takes as long as a token, so that the time of a reply does not tell a malformed token from an unknown one.
  parseToken(decoy)
  const typed = parseTypedToken(text)
  if (typed === undefined) return refuse(item, 'token_malformed')
  if (named === undefined) return refuse(item, 'token_field_missing')
  const { format, id, canonical, inetPrefix } = typed
  const identity = nameToken({ name: named, format }, canonical)
  return { identity, field: named, format, id, ...(inetPrefix && { inetPrefix }) }
}

/** Names of tokens are never JSON. */
function refuse(item: TokenItem, code: ErrorCode): ReadToken {
  const parts = typeof item === 'string' ? [item] : [item.field, item.token]
  return { identity: JSON.stringify(parts), code }
}

/** Why a token is not one that its field can have. */
export function findFormatProblem(token: SoughtToken, field: Field): ErrorCode | undefined {
  if (token.format !== field.format) return 'token_unknown'
  return token.format === 'inet' && token.inetPrefix !== field.inetPrefix ? 'token_malformed' : undefined
}
