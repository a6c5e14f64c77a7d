import { sql } from 'kysely'
import type { OriginalReader, SealedOriginal } from '../vault/ports.ts'
import type { TokenvaultDatabase } from './database.ts'
import { namingFailures } from './failure.ts'

/** Sealed originals by token id: one index look-up a token, in one statement. */
export function createOriginalReader(database: TokenvaultDatabase): OriginalReader {
  return {
    async findOriginals(tokenIds) {
      if (tokenIds.length === 0) return new Map()
      const { rows } = await namingFailures(() =>
        sql<SealedOriginal>`
          select replace(token_id::text, '-', '') as "tokenId", field, token_key_version as "tokenKeyVersion",
            data_key_version as "dataKeyVersion", sealed
          from pii_vault.originals where token_id = any (${tokenIds}::uuid[])`.execute(database),
      )
      return new Map(rows.map(original => [original.tokenId, original]))
    },
  }
}
