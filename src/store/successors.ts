import { sql } from 'kysely'
import type { OriginalReader, SealedOriginal, TokenId } from '../vault/tokens/ports.ts'
import { namingFailures, type TokenvaultDatabase } from './postgres/database.ts'
import { readRetired } from './token-aliases.ts'

/**
 * Originals by token id, of a token that has an alias that of its successor, with `foundBy`: also while its own is still there. In
 * one statement, because the job that replaces tokens deletes the own ones.
 */
export function createSuccessorReader(database: TokenvaultDatabase): OriginalReader {
  return {
    readRetired: () => readRetired(database),
    findOriginals: tokenIds =>
      namingFailures(async () => {
        const { rows } = await sql<
          SealedOriginal & { sought: TokenId; version: number | null; proof: Uint8Array | null }
        >`
          select replace(token_id::text, '-', '') as sought, null::int as version, null::bytea as proof, ${columns}
          from pii_vault.originals as original where token_id = any (${tokenIds}::uuid[])
          union all
          select replace(alias.token_id::text, '-', ''), alias.token_key_version, alias.proof, ${columns}
          from pii_vault.token_aliases as alias join pii_vault.originals as original on original.token_id = alias.successor
          where alias.token_id = any (${tokenIds}::uuid[])`.execute(database)
        const found = new Map<TokenId, SealedOriginal>()
        for (const { sought, version, proof, ...original } of rows) {
          if (version !== null && proof !== null)
            found.set(sought, { ...original, foundBy: { tokenKeyVersion: version, proof } })
          else if (!found.has(sought)) found.set(sought, original)
        }
        return found
      }),
  }
}

const columns = sql`replace(original.token_id::text, '-', '') as "tokenId", original.field,
  original.token_key_version as "tokenKeyVersion", original.data_key_version as "dataKeyVersion", original.sealed,
  original.siv_rest as "sivRest"`
