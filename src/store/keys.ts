import { sql } from 'kysely'
import { TokenvaultError } from '../errors.ts'
import type { KeyReader, KeyWriter, WrappedKey } from '../vault/keys/ports.ts'
import { storeRecovery } from './key-recovery.ts'
import { inTransaction, namingFailures, type TokenvaultDatabase } from './postgres/database.ts'

/** Wrapped keys, for processes that may only read them. */
export function createKeyReader(database: TokenvaultDatabase): KeyReader {
  return {
    readKeys: () =>
      namingFailures(() =>
        database
          .selectFrom('pii_vault.keys')
          .select(['purpose', 'field', 'version', 'status', 'kek_id as kekId'])
          .select(({ ref }) => ref('wrapped').$notNull().as('wrapped'))
          // In one statement with the state of the keys: who writes with a new key knows which one it takes over from.
          .select(
            sql<boolean>`purpose = 'token' and exists (select from pii_vault.token_moves as move
              where move.field = keys.field and move.token_key_version = keys.version and move.state = 'moving')`.as(
              'isMoving',
            ),
          )
          .where('status', '<>', 'destroyed')
          .orderBy('purpose')
          .orderBy('field')
          .orderBy('version')
          .execute(),
      ),
  }
}

/**
 * Wrapped keys, for the owner. A key that is there is never replaced.
 * `insertKeys` throws TokenvaultError `store_refused` for a second primary of a purpose and field.
 */
export function createKeyWriter(database: TokenvaultDatabase): KeyWriter {
  return {
    ...createKeyReader(database),
    hasContent: field =>
      namingFailures(async () => {
        const { rows } = await sql<{ found: boolean }>`
          select exists (select from pii_vault.originals where ${field ?? null}::text is null or field = ${field ?? null})
            or (${field ?? null}::text is null
              and (exists (select from pii_vault.quarantine) or exists (select from pii_vault.audit_log)
                or exists (select from pii_vault.checkpoints))) as found`.execute(database)
        return rows[0]!.found
      }),
    hasCheckpoints: () =>
      namingFailures(async () => {
        const { rows } = await sql<{ found: boolean }>`
          select exists (select from pii_vault.checkpoints) as found`.execute(database)
        return rows[0]!.found
      }),
    insertKeys: (keys, recovery) =>
      namingFailures(async () => {
        if (keys.length === 0) return
        const rows = keys.map(({ kekId, wrapped, ...key }) => ({
          ...key,
          kek_id: kekId,
          wrapped: Buffer.from(wrapped),
          ...(key.status === 'primary' ? { primary_since: sql<Date>`now()` } : {}),
        }))
        await inTransaction(database, async transaction => {
          // One writer at a time: of two that store the same keys at once, the later would meet the index of primaries.
          await sql`lock table pii_vault.keys in share row exclusive mode`.execute(transaction)
          await checkOneKek(transaction, keys)
          await transaction
            .insertInto('pii_vault.keys')
            .values(rows)
            .onConflict(conflict => conflict.columns(['purpose', 'field', 'version']).doNothing())
            .execute()
          // Where another migrator was first, whoever ends last makes it of what is there.
          if (recovery !== undefined) await storeRecovery(transaction, recovery)
        })
      }),
  }
}

/**
 * Whoever makes keys decides by which KEK before the table is locked. A rewrap in between would leave keys of two, of which the
 * earlier one is about to be thrown away.
 *
 * @param transaction holds the lock under which keys are written
 * @throws TokenvaultError `keys_changed`
 */
export async function checkOneKek(transaction: TokenvaultDatabase, keys: readonly WrappedKey[]): Promise<void> {
  const others = await transaction
    .selectFrom('pii_vault.keys')
    .select('kek_id')
    .where('status', '<>', 'destroyed')
    .where(
      'kek_id',
      'not in',
      keys.map(({ kekId }) => kekId),
    )
    .limit(1)
    .execute()
  if (others.length > 0)
    throw new TokenvaultError('keys_changed', `the keys were put under ${others[0]!.kek_id} meanwhile`)
}
