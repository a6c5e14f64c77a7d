import { sql } from 'kysely'
import type { TokenId } from '../vault/tokens/ports.ts'
import { inTransaction, namingFailures, type TokenvaultDatabase } from './postgres/database.ts'

/** A version of a token key whose tokens were, or are being, replaced. */
export interface TokenMoveState {
  readonly version: number
  readonly toVersion: number
  readonly isDone: boolean
  readonly isRetired: boolean
}

/** An earlier token, and the one that stands in its place. */
export interface TokenPair {
  readonly tokenId: TokenId
  readonly oldToken: string
  readonly newToken: string
}

/** Aliases of earlier tokens, for administrators. All throw `store_unavailable`. */
export interface TokenMap {
  /** In order of version. */
  readMoves(field: string): Promise<readonly TokenMoveState[]>
  /** @param version of the earlier tokens; all of them when absent */
  countPairs(field: string, version?: number): Promise<number>
  /** The next pairs in order of the earlier token's id, whatever their version. */
  readPairs(
    field: string,
    page: { readonly after: TokenId | undefined; readonly limit: number },
  ): Promise<readonly TokenPair[]>
  /** From now on its tokens answer `token_retired`. @returns false where its move is not done */
  retire(field: string, version: number): Promise<boolean>
  /** Deletes a batch of the aliases of one version, in one transaction. @returns where to go on; undefined at the end */
  deletePairs(
    of: { readonly field: string; readonly version: number },
    page: { readonly after: TokenId | undefined; readonly limit: number },
  ): Promise<{ readonly deleted: number; readonly last: TokenId | undefined }>
}

const lowest = '0'.repeat(32)

/** @param database a connection that may act as tokenvault_owner */
export function createTokenMap(database: TokenvaultDatabase): TokenMap {
  const asOwner = <T>(work: (transaction: TokenvaultDatabase) => Promise<T>) =>
    namingFailures(() =>
      inTransaction(database, async transaction => {
        await sql`set local role tokenvault_owner`.execute(transaction)
        return work(transaction)
      }),
    )
  return {
    readMoves: field =>
      asOwner(async transaction => {
        const { rows } = await sql<TokenMoveState>`
          select token_key_version as version, to_version as "toVersion", state = 'done' as "isDone",
            retired_at is not null as "isRetired"
          from pii_vault.token_moves where field = ${field} order by token_key_version`.execute(transaction)
        return rows
      }),
    countPairs: (field, version) =>
      asOwner(async transaction => {
        const { rows } = await sql<{ count: string }>`
          select count(*) as count from pii_vault.token_aliases where field = ${field}
            ${version === undefined ? sql`` : sql`and token_key_version = ${version}`}`.execute(transaction)
        return Number(rows[0]!.count)
      }),
    readPairs: (field, { after = lowest, limit }) =>
      asOwner(async transaction => {
        const { rows } = await sql<TokenPair>`
          select replace(token_id::text, '-', '') as "tokenId", old_token as "oldToken", new_token as "newToken"
          from pii_vault.token_aliases where field = ${field} and token_id > ${after}::uuid
          order by token_id limit ${limit}`.execute(transaction)
        return rows
      }),
    retire: (field, version) =>
      asOwner(async transaction => {
        const updated = await sql`
          update pii_vault.token_moves set retired_at = coalesce(retired_at, now())
          where field = ${field} and token_key_version = ${version} and state = 'done'`.execute(transaction)
        return updated.numAffectedRows === 1n
      }),
    deletePairs: ({ field, version }, { after = lowest, limit }) =>
      asOwner(async transaction => {
        const { rows } = await sql<{ deleted: string; last: TokenId | null }>`
          with page as materialized (
            select token_id from pii_vault.token_aliases
            where field = ${field} and token_key_version = ${version} and token_id > ${after}::uuid
            order by token_id limit ${limit}
          ), gone as (
            delete from pii_vault.token_aliases as alias using page where alias.token_id = page.token_id returning 1
          )
          select (select count(*) from gone) as deleted,
            (select replace(token_id::text, '-', '') from page order by token_id desc limit 1) as last`.execute(
          transaction,
        )
        return { deleted: Number(rows[0]!.deleted), last: rows[0]!.last ?? undefined }
      }),
  }
}
