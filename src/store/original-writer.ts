import { type ControlledTransaction, sql } from 'kysely'
import { TokenvaultError } from '../errors.ts'
import type { HealthCheck } from '../vault/admission/ports.ts'
import type { InsertedOriginals, OriginalWriter, SealedOriginal } from '../vault/tokens/ports.ts'
import { insertOriginals } from './insert-originals.ts'
import { namingFailures, retryingConflicts, type TokenvaultDatabase } from './postgres/database.ts'
import { classifyFailure } from './postgres/failures.ts'
import { checkRights } from './postgres/health.ts'
import type { Database } from './postgres/schema.ts'
import type { LoginRole } from './setup/role-passwords.ts'

/**
 * Originals as the role `tokenvault_store` adds them. Nothing is inserted before it is known that its database is the
 * vault's own: an original in another database would be lost to those who hold its token.
 *
 * @param database of the role that stores
 * @param vault the database that the vault's keys and evidence are in, as any other role
 */
export function createOriginalWriter(database: TokenvaultDatabase, vault: TokenvaultDatabase): OriginalWriter {
  let isChecked = false
  return {
    insert: originals =>
      namingFailures(async () => {
        if (!isChecked) {
          await checkSameDatabase(database, vault)
          isChecked = true
        }
        return openInsert(database, originals)
      }),
  }
}

/**
 * Whether values can be stored: the role may insert originals, into the database of the vault, which takes writes.
 *
 * `check` throws TokenvaultError `store_unavailable` or `store_misconfigured`, with what is wrong as its detail.
 */
export function createStoringHealth(database: TokenvaultDatabase, vault: TokenvaultDatabase): HealthCheck {
  return createSecondLoginHealth(database, vault, 'tokenvault_store', 'STORE_DATABASE_URL')
}

/** As createStoringHealth, of another role that the API also logs in as. */
export function createSecondLoginHealth(
  database: TokenvaultDatabase,
  vault: TokenvaultDatabase,
  role: LoginRole,
  urlName: 'STORE_DATABASE_URL' | 'PRIVACY_DATABASE_URL',
): HealthCheck {
  return {
    check: () =>
      namingFailures(async () => {
        await checkRights(database, role)
        await checkSameDatabase(database, vault, urlName)
        const { rows } = await sql<{ takes_writes: boolean }>`
          select not pg_is_in_recovery() and current_setting('transaction_read_only') = 'off' as takes_writes`.execute(
          database,
        )
        if (!rows[0]!.takes_writes)
          throw new TokenvaultError('store_unavailable', 'the server takes no writes: it is a standby, or read-only')
      }),
  }
}

/** A transaction that holds the originals and waits for what becomes of their event. */
async function openInsert(
  database: TokenvaultDatabase,
  originals: readonly SealedOriginal[],
): Promise<InsertedOriginals> {
  const transaction = await retryingConflicts(async () => {
    const opened = await database.startTransaction().setIsolationLevel('read committed').execute()
    try {
      await insertOriginals(opened, originals, { keptElsewhere: true })
      return opened
    } catch (error) {
      await rollBack(opened)
      throw error
    }
  })
  return {
    async commit() {
      try {
        await transaction.commit().execute()
      } catch (error) {
        await rollBack(transaction)
        // The event is committed, so whatever went wrong here, the same call again is what heals it.
        throw new TokenvaultError(
          'store_unavailable',
          `whether the originals are stored is not known, and the same call again stores them or finds them; the database answered: ${classifyFailure(error).label}`,
        )
      }
    },
    abandon: () => rollBack(transaction),
  }
}

/** Never throws: a connection that cannot even roll back is ended, and the server undoes what was open on it. */
async function rollBack(transaction: ControlledTransaction<Database>): Promise<void> {
  await transaction
    .rollback()
    .execute()
    .catch(() => {})
}

/** By the ids of cluster and database: addresses say little behind poolers and during failovers. */
async function checkSameDatabase(
  database: TokenvaultDatabase,
  vault: TokenvaultDatabase,
  urlName = 'STORE_DATABASE_URL',
): Promise<void> {
  const [own, other] = await Promise.all([identify(database), identify(vault)])
  const isOtherCluster = own.cluster !== other.cluster && own.cluster !== undefined && other.cluster !== undefined
  if (isOtherCluster || own.oid !== other.oid)
    throw new TokenvaultError(
      'store_misconfigured',
      `${urlName} leads to another database than DATABASE_URL; originals belong where the keys and the evidence are`,
    )
}

/** @returns without the cluster where an administrator does not let everybody ask for it */
async function identify(database: TokenvaultDatabase): Promise<{ readonly oid: string; readonly cluster?: string }> {
  const found = await sql<{ oid: string; may_ask: boolean }>`
    select oid::text, has_function_privilege('pg_control_system()', 'execute') as may_ask
    from pg_database where datname = current_database()`.execute(database)
  const { oid, may_ask: mayAsk } = found.rows[0]!
  if (!mayAsk) return { oid }
  const { rows } = await sql<{ cluster: string }>`
    select system_identifier::text as cluster from pg_control_system()`.execute(database)
  return { oid, cluster: rows[0]!.cluster }
}
