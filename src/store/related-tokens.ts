import { sql } from 'kysely'
import type { RelatedTokens } from '../vault/tokens/ports.ts'
import { namingFailures, type TokenvaultDatabase } from './postgres/database.ts'

/** Tokens of one value by their aliases. Those of keys that were retired are not known any more. */
export function createRelatedTokens(database: TokenvaultDatabase): RelatedTokens {
  return {
    findRelated: (field, tokenId) =>
      namingFailures(async () => {
        const { rows } = await sql<{ token: string }>`
          with family as materialized (
            select old_token, new_token from pii_vault.token_aliases
            where field = ${field} and successor in (
              select ${tokenId}::uuid
              union all select successor from pii_vault.token_aliases where token_id = ${tokenId}::uuid and field = ${field})
          )
          select old_token as token from family union select new_token from family`.execute(database)
        return rows.map(({ token }) => token)
      }),
  }
}
