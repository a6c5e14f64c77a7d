import { sql } from 'kysely'
import { TokenvaultError } from '../errors.ts'
import type { SealedOriginal, TokenId } from '../vault/tokens/ports.ts'
import { bytesArray, plainArray } from './postgres/array-literal.ts'
import { inTransaction, namingFailures, type TokenvaultDatabase } from './postgres/database.ts'

/** Originals for who re-seals them, with the owner's right. */
export interface ResealStore {
  /** Originals of the field that are sealed under any other data key version, with the estimate of all of them. @throws `store_unavailable` */
  countOthers(field: string, dataKeyVersion: number): Promise<number>
  /** The next ones in order of token id. @throws `store_unavailable` */
  readOthers(
    field: string,
    dataKeyVersion: number,
    page: { readonly after: TokenId | undefined; readonly limit: number },
  ): Promise<readonly SealedOriginal[]>
  /**
   * Replaces what is still sealed as it was when it was read, while the key that seals it now is the primary one. @returns how many
   * were
   * @throws `keys_changed` where another key is the primary one by now: this one may be destroyed next. `store_unavailable`; then nothing of the batch was changed, or the outcome is unknown and a repeat is safe
   */
  replace(originals: readonly SealedOriginal[], from: number): Promise<number>
}

/** @param database a connection that may act as tokenvault_owner */
export function createResealStore(database: TokenvaultDatabase): ResealStore {
  return {
    countOthers: (field, dataKeyVersion) =>
      namingFailures(async () => {
        const { rows } = await sql<{ count: string }>`
          select count(*) as count from pii_vault.originals
          where field = ${field} and data_key_version <> ${dataKeyVersion}`.execute(database)
        return Number(rows[0]!.count)
      }),
    readOthers: (field, dataKeyVersion, { after, limit }) =>
      namingFailures(async () => {
        const { rows } = await sql<SealedOriginal>`
          select replace(token_id::text, '-', '') as "tokenId", field, token_key_version as "tokenKeyVersion",
            data_key_version as "dataKeyVersion", sealed
          from pii_vault.originals
          where token_id > ${after ?? '00000000000000000000000000000000'}::uuid
            and field = ${field} and data_key_version <> ${dataKeyVersion}
          order by token_id limit ${limit}`.execute(database)
        return rows
      }),
    replace: (originals, from) =>
      namingFailures(() =>
        inTransaction(database, async transaction => {
          await sql`set local role tokenvault_owner`.execute(transaction)
          await holdPrimary(transaction, 'data', originals)
          // Repeatable at will: a crash of the server that loses this loses no original.
          await sql`set local synchronous_commit = off`.execute(transaction)
          const changed = await sql`
            update pii_vault.originals as original set sealed = fresh.sealed, data_key_version = fresh.version
            from unnest(
              ${plainArray(originals.map(({ tokenId }) => tokenId))}::uuid[],
              ${plainArray(originals.map(({ dataKeyVersion }) => dataKeyVersion))}::int[],
              ${bytesArray(originals.map(({ sealed }) => sealed))}::bytea[]) as fresh (token_id, version, sealed)
            where original.token_id = fresh.token_id and original.data_key_version = ${from}`.execute(transaction)
          return Number(changed.numAffectedRows)
        }),
      ),
  }
}

/** Until the transaction ends the key stays the primary one. @throws TokenvaultError `keys_changed` where it is not */
export async function holdPrimary(
  transaction: TokenvaultDatabase,
  purpose: 'data' | 'quarantine',
  originals: readonly SealedOriginal[],
): Promise<void> {
  const [first] = originals
  if (first === undefined) return
  const { rows } = await sql`
    select from pii_vault.keys
    where purpose = ${purpose} and field = ${first.field} and version = ${first.dataKeyVersion} and status = 'primary'
    for share`.execute(transaction)
  if (rows.length === 0)
    throw new TokenvaultError(
      'keys_changed',
      `${purpose}/${first.field}/v${first.dataKeyVersion} is no longer the primary key`,
    )
}
