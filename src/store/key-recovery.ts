import { sql } from 'kysely'
import { TokenvaultError } from '../errors.ts'
import type { KeyRecovery, KeyRecoveryStore, StoredKey, StoredKeyRecovery } from '../vault/keys/ports.ts'
import { digestKeys } from '../vault/keys/recovery.ts'
import { inTransaction, namingFailures, type TokenvaultDatabase } from './postgres/database.ts'

/** @param database reading takes the rights of the API, and replacing those of the owner */
export function createKeyRecoveryStore(database: TokenvaultDatabase): KeyRecoveryStore {
  return {
    readRecovery: () => namingFailures(() => readRecovery(database)),
    readStoredKeys: () => namingFailures(() => readStoredKeys(database)),
    replaceRecovery: recovery =>
      namingFailures(() =>
        inTransaction(database, async transaction => {
          await sql`set local role tokenvault_owner`.execute(transaction)
          await sql`lock table pii_vault.keys in share row exclusive mode`.execute(transaction)
          if (!(await storeRecovery(transaction, recovery)))
            throw new TokenvaultError('keys_changed', 'the keys are not those that the recovery was made of')
        }),
      ),
  }
}

/**
 * Puts the recovery in place of the one that is there, where it was made of the keys as they stand now: never do both stand
 * side by side, and never does one name keys that it does not hold.
 *
 * @param transaction holds the lock under which keys are written
 * @returns false where it was made of others; then nothing was changed
 */
export async function storeRecovery(transaction: TokenvaultDatabase, recovery: KeyRecovery): Promise<boolean> {
  if (digestKeys(await readStoredKeys(transaction)) !== recovery.keysetDigest) return false
  await dropRecovery(transaction)
  const { recipients, keysetDigest, sealed } = recovery
  await sql`
    insert into pii_vault.key_recovery (recipients, keyset_digest, sealed)
    values (${recipients}::text[], decode(${keysetDigest}, 'hex'), ${sealed})`.execute(transaction)
  return true
}

/** What holds a key that is destroyed now must not stay. */
export async function dropRecovery(transaction: TokenvaultDatabase): Promise<void> {
  await sql`delete from pii_vault.key_recovery`.execute(transaction)
}

async function readRecovery(database: TokenvaultDatabase): Promise<StoredKeyRecovery | undefined> {
  const { rows } = await sql<StoredKeyRecovery>`
    select recipients, encode(keyset_digest, 'hex') as "keysetDigest", sealed, made_at as "madeAt"
    from pii_vault.key_recovery`.execute(database)
  return rows[0]
}

function readStoredKeys(database: TokenvaultDatabase): Promise<readonly StoredKey[]> {
  return database.selectFrom('pii_vault.keys').select(['purpose', 'field', 'version', 'status', 'wrapped']).execute()
}
