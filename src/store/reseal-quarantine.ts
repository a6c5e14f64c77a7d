import { sql } from 'kysely'
import { bytesArray, plainArray } from './postgres/array-literal.ts'
import { inTransaction, namingFailures, type TokenvaultDatabase } from './postgres/database.ts'
import { holdPrimary, type ResealStore } from './reseal.ts'

/** Most bodies of a batch: each has up to 256 KiB. */
const maxBodies = 200

/**
 * Quarantined bodies as a ResealStore, of field ''; the id of an entry stands as `tokenId`. Entries whose body was erased are none. A
 * worker that redrives an entry holds its row: then this waits, and finds it erased or as it was.
 *
 * @param database a connection that may act as tokenvault_owner
 */
export function createQuarantineResealStore(database: TokenvaultDatabase): ResealStore {
  return {
    countOthers: (_, dataKeyVersion) =>
      namingFailures(async () => {
        const { rows } = await sql<{ count: string }>`
          select count(*) as count from pii_vault.quarantine
          where sealed is not null and data_key_version <> ${dataKeyVersion}`.execute(database)
        return Number(rows[0]!.count)
      }),
    readOthers: (_, dataKeyVersion, { after, limit }) =>
      namingFailures(async () => {
        const { rows } = await sql<Awaited<ReturnType<ResealStore['readOthers']>>[number]>`
          select replace(id::text, '-', '') as "tokenId", '' as field, 0 as "tokenKeyVersion",
            data_key_version as "dataKeyVersion", sealed
          from pii_vault.quarantine
          where id > ${after ?? '00000000000000000000000000000000'}::uuid
            and sealed is not null and data_key_version <> ${dataKeyVersion}
          order by id limit ${Math.min(limit, maxBodies)}`.execute(database)
        return rows
      }),
    replace: (bodies, from) =>
      namingFailures(() =>
        inTransaction(database, async transaction => {
          await sql`set local role tokenvault_owner`.execute(transaction)
          await holdPrimary(transaction, 'quarantine', bodies)
          const changed = await sql`
            update pii_vault.quarantine as entry set sealed = fresh.sealed, data_key_version = fresh.version
            from unnest(
              ${plainArray(bodies.map(({ tokenId }) => tokenId))}::uuid[],
              ${plainArray(bodies.map(({ dataKeyVersion }) => dataKeyVersion))}::int[],
              ${bytesArray(bodies.map(({ sealed }) => sealed))}::bytea[]) as fresh (id, version, sealed)
            where entry.id = fresh.id and entry.data_key_version = ${from} and entry.sealed is not null`.execute(
            transaction,
          )
          return Number(changed.numAffectedRows)
        }),
      ),
  }
}
