import type { FieldKeys } from '../keys/field-keys.ts'
import { may, type Policy } from '../policy/policy.ts'
import type { Answer } from './open-tokens.ts'
import type { TokenId } from './ports.ts'
import type { ReadToken } from './read-token.ts'

/** Which of these digests the erasure ledger has. @throws `store_unavailable` */
export type FindErasedTokens = (digests: readonly string[]) => Promise<ReadonlySet<string>>

/**
 * By which the erasure ledger names tokens. Under the oldest audit key, which is kept for ever: the ledger has to be read for as long as
 * there are backups. No token begins so.
 *
 * @returns 22 letters of base64url a token, in input order
 */
export function digestTokens(
  keys: FieldKeys,
  tokens: readonly { readonly field: string; readonly id: TokenId }[],
): string[] {
  return keys.digests[0]!.digest(tokens.map(({ field, id }) => `tokenvault erased token v1 ${field} ${id}`))
}

/**
 * Says of unknown tokens that they were erased, to those who may know it: roles that answer people, or read the evidence. To all others an
 * erased token is as unknown as any, and takes as long.
 */
export async function nameErased(
  deps: { readonly keys: FieldKeys; readonly findErasedTokens?: FindErasedTokens | undefined },
  asker: { readonly policy: Policy; readonly roles: readonly string[] },
  tokens: ReadonlyMap<string, ReadToken>,
  answers: ReadonlyMap<string, Answer>,
): Promise<ReadonlyMap<string, Answer>> {
  const { keys, findErasedTokens } = deps
  const mayKnow = may(asker.policy, asker.roles, 'people') || may(asker.policy, asker.roles, 'audit')
  if (findErasedTokens === undefined || !mayKnow) return answers
  const unknown = [...answers].flatMap(([identity, answer]) => {
    const token = tokens.get(identity)
    return 'code' in answer && answer.code === 'token_unknown' && token !== undefined && 'id' in token
      ? [{ identity, field: token.field, id: token.id }]
      : []
  })
  if (unknown.length === 0) return answers
  const digests = digestTokens(keys, unknown)
  const erased = await findErasedTokens(digests)
  const named = new Map(answers)
  for (const [index, { identity }] of unknown.entries())
    if (erased.has(digests[index]!)) named.set(identity, { code: 'token_erased' })
  return named
}
