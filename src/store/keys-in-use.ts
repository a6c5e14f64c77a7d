import { sql } from 'kysely'
import type { KeyName } from '../vault/keys/keyset.ts'
import { plainArray } from './postgres/array-literal.ts'
import type { TokenvaultDatabase } from './postgres/database.ts'

/**
 * Has the database refuse the transaction where one of the keys was taken out of use: a process that lost touch would write what nobody
 * opens any more. Until the transaction ends they stay in use. A statement of its own, because a trigger would keep Citus from
 * distributing the tables.
 *
 * @throws DatabaseError 55TV1, which is `store_unavailable`: the process takes up the change within seconds
 */
export async function requireKeysInUse(transaction: TokenvaultDatabase, keys: readonly KeyName[]): Promise<void> {
  if (keys.length === 0) return
  await sql`select pii_vault.require_keys_in_use(
    ${keys.map(({ purpose }) => purpose)}::text[], ${keys.map(({ field }) => field)}::text[],
    ${plainArray(keys.map(({ version }) => version))}::int[])`.execute(transaction)
}

/** Until the transaction ends nobody writes; whoever was writing has ended. For who takes keys out of use. */
export async function awaitWriters(transaction: TokenvaultDatabase): Promise<void> {
  await sql`select pg_advisory_xact_lock(hashtextextended('pii_vault.keys in use', 0))`.execute(transaction)
}
