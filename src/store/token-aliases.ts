import { sql } from 'kysely'
import type { SealedOriginal, TokenAlias, TokenId } from '../vault/tokens/ports.ts'
import { bytesArray, plainArray } from './postgres/array-literal.ts'
import { namingFailures, type TokenvaultDatabase } from './postgres/database.ts'

/** Adds aliases; one that is there stays. In the order of their ids, because concurrent transactions deadlock otherwise. */
export async function insertAliases(transaction: TokenvaultDatabase, aliases: readonly TokenAlias[]): Promise<void> {
  if (aliases.length === 0) return
  const byId = new Map(aliases.map(alias => [alias.tokenId, alias]))
  const sorted = [...byId.keys()].sort().map(tokenId => byId.get(tokenId)!)
  await sql`
    insert into pii_vault.token_aliases (token_id, field, token_key_version, old_token, new_token, successor, proof)
    select * from ${aliasRows(sorted)}
    on conflict do nothing`.execute(transaction)
}

/** Aliases as rows, in the order of the columns of the table. */
export function aliasRows(aliases: readonly TokenAlias[]) {
  return sql`unnest(
    ${plainArray(aliases.map(({ tokenId }) => tokenId))}::uuid[], ${plainArray(aliases.map(({ field }) => field))}::text[],
    ${plainArray(aliases.map(({ tokenKeyVersion }) => tokenKeyVersion))}::int[],
    ${plainArray(aliases.map(({ oldToken }) => oldToken))}::text[],
    ${plainArray(aliases.map(({ newToken }) => newToken))}::text[],
    ${plainArray(aliases.map(({ successor }) => successor))}::uuid[],
    ${bytesArray(aliases.map(({ proof }) => proof))}::bytea[])`
}

/** What a row has besides its original; null where it was not found by an earlier token. */
export interface AliasColumns {
  readonly sought: TokenId | null
  readonly version: number | null
  readonly proof: Uint8Array | null
}

/** Selects the originals of the successors of those earlier tokens that have none of their own. */
export function selectAliased(tokenIds: readonly TokenId[]) {
  return sql`
    select replace(original.token_id::text, '-', ''), original.field, original.token_key_version,
      original.data_key_version, original.sealed, original.siv_rest,
      null, replace(alias.token_id::text, '-', ''), alias.token_key_version, alias.proof
    from pii_vault.token_aliases as alias join pii_vault.originals as original on original.token_id = alias.successor
    where alias.token_id = any (${tokenIds}::uuid[])
      and not exists (select from pii_vault.originals as own where own.token_id = alias.token_id)`
}

/** Token keys whose aliases were deleted, or are being deleted. */
export function readRetired(database: TokenvaultDatabase): Promise<ReadonlySet<string>> {
  return namingFailures(async () => {
    const { rows } = await sql<{ key: string }>`
      select field || '/' || token_key_version as key from pii_vault.token_moves where retired_at is not null`.execute(
      database,
    )
    return new Set(rows.map(({ key }) => key))
  })
}

/** An original, by the id that was sought. */
export function readFound(row: SealedOriginal & Partial<AliasColumns>): [TokenId, SealedOriginal] {
  const { sought, version, proof, successor, ...original } = row
  if (sought === null || sought === undefined)
    return [original.tokenId, successor ? { ...original, successor } : original]
  return [sought, { ...original, foundBy: { tokenKeyVersion: version!, proof: proof! } }]
}
