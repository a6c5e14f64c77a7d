import { createHash } from 'node:crypto'
import type { FieldKeys } from '../keys/field-keys.ts'

/** All that an approval is for. */
export interface ApprovableRequest {
  readonly operation: 'detokenize'
  /** In any order, repeats or not: neither changes what is revealed. */
  readonly tokens: readonly string[]
  readonly purpose: string
  readonly ticket?: string | undefined
  /** What each field that the call reveals is revealed at: of two fields, one must not widen behind the other. */
  readonly levels: Readonly<Record<string, 'full' | 'partial'>>
}

/**
 * Keyed digest of a request: equal for requests that reveal the same for the same reason, different for all others, and
 * telling nothing to whoever lacks the audit key.
 *
 * @returns 22 letters of base64url
 */
export function digestRequest(keys: FieldKeys, request: ApprovableRequest): string {
  const { operation, tokens, purpose, ticket, levels } = request
  // JSON is injective; hashed first, because CMAC works on many short texts faster than on a long one.
  const sortedLevels = Object.entries(levels).sort(([a], [b]) => (a < b ? -1 : 1))
  const text = JSON.stringify([operation, [...new Set(tokens)].sort(), purpose, ticket ?? null, sortedLevels])
  const hash = createHash('sha256').update(text).digest('hex')
  // A token never begins so: no digest of a request is that of a token.
  return keys.digest.digest([`tokenvault approval v1 ${hash}`])[0]!
}
