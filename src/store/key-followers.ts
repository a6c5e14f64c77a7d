import { sql } from 'kysely'
import type { FollowedKeyset, KeyFollower } from '../vault/keys/ports.ts'
import { namingFailures, type TokenvaultDatabase } from './postgres/database.ts'

/** After which a process that said nothing has ended: it says so every few seconds. */
const livingSeconds = 20

/**
 * For a process that holds keys.
 *
 * @returns says by which keys it goes; throws `store_unavailable`, or `store_misconfigured` where the function is missing
 */
export function createSayFollowed(database: TokenvaultDatabase) {
  return ({ instance, process, keyset }: FollowedKeyset): Promise<void> =>
    namingFailures(async () => {
      await sql`select pii_vault.follow_keys(${instance}::uuid, ${process}, ${Buffer.from(keyset)}::bytea)`.execute(
        database,
      )
    })
}

/** Of all processes that live, for administrators. @throws TokenvaultError `store_unavailable` */
export function createFollowerReader(database: TokenvaultDatabase): () => Promise<readonly KeyFollower[]> {
  return () =>
    namingFailures(async () => {
      const { rows } = await sql<KeyFollower>`
        select instance::text, process, keyset, started_at as "startedAt", looked_at as "lookedAt"
        from pii_vault.key_followers where looked_at > now() - make_interval(secs => ${livingSeconds})
        order by process, started_at`.execute(database)
      return rows
    })
}
