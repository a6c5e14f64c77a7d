import { sql } from 'kysely'
import { TokenvaultError } from '../errors.ts'
import type { AuditEvent } from '../vault/admission/ports.ts'
import { formatKeyName, type KeyName } from '../vault/keys/keyset.ts'
import type { WrappedKey } from '../vault/keys/ports.ts'
import { dropRecovery } from './key-recovery.ts'
import { inTransaction, namingFailures, type TokenvaultDatabase } from './postgres/database.ts'

/**
 * Puts the keys of a recovery in place of those of a database that was restored, under another KEK: all of them or none.
 *
 * @param database a connection that may act as tokenvault_owner
 * @param adoption.keys every key that is used from then on
 * @param adoption.destroyed stored keys that are to be gone
 * @throws TokenvaultError `keys_changed` where a key is stored that is neither; `store_unavailable`
 */
export function adoptKeys(
  database: TokenvaultDatabase,
  adoption: {
    readonly keys: readonly WrappedKey[]
    readonly destroyed: readonly KeyName[]
    readonly events: readonly AuditEvent[]
  },
): Promise<void> {
  const { keys, destroyed, events } = adoption
  return namingFailures(() =>
    inTransaction(database, async transaction => {
      await sql`set local role tokenvault_owner`.execute(transaction)
      await sql`lock table pii_vault.keys in share row exclusive mode`.execute(transaction)
      for (const { purpose, field, version } of destroyed)
        await sql`
          update pii_vault.keys set status = 'destroyed', wrapped = null, destroyed_at = now()
          where purpose = ${purpose} and field = ${field} and version = ${version}`.execute(transaction)
      // There is never a second one that writes, not even between two statements.
      await sql`update pii_vault.keys set status = 'active' where status = 'primary'`.execute(transaction)
      for (const { purpose, field, version, status, kekId, wrapped } of keys)
        await sql`
          insert into pii_vault.keys as k (purpose, field, version, status, kek_id, wrapped, primary_since)
          values (${purpose}, ${field}, ${version}, ${status}, ${kekId}, ${Buffer.from(wrapped)},
            case when ${status}::text = 'primary' then now() end)
          on conflict (purpose, field, version) do update set status = excluded.status, kek_id = excluded.kek_id,
            wrapped = excluded.wrapped, primary_since = coalesce(k.primary_since, excluded.primary_since),
            destroy_after = case when excluded.status = 'disabled' then k.destroy_after end,
            unreadable = case when excluded.status = 'disabled' then k.unreadable end
          where k.status <> 'destroyed'`.execute(transaction)
      await checkWhole(transaction, keys)
      // It may hold what was destroyed; the one of these keys is made by who knows the recipients.
      if (destroyed.length > 0) await dropRecovery(transaction)
      const lines = events.map(event => Buffer.from(JSON.stringify(event), 'utf8'))
      await sql`select pii_vault.append_audit(${lines}::bytea[])`.execute(transaction)
    }),
  )
}

async function checkWhole(transaction: TokenvaultDatabase, keys: readonly WrappedKey[]): Promise<void> {
  const there = await transaction
    .selectFrom('pii_vault.keys')
    .select(['purpose', 'field', 'version'])
    .where('status', '<>', 'destroyed')
    .execute()
  const given = new Set(keys.map(formatKeyName))
  if (there.length !== keys.length || !there.every(name => given.has(formatKeyName(name))))
    throw new TokenvaultError('keys_changed', 'other keys are stored than were recovered')
}
