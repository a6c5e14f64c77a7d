import { sql } from 'kysely'
import type { Hold, HoldReader, HoldStore } from '../../vault/people/ports.ts'
import { namingFailures, type TokenvaultDatabase } from '../postgres/database.ts'

const today = sql`(now() at time zone 'UTC')::date`

/** Legal holds as any role reads them that may, and in any transaction. */
export function createHoldReader(database: TokenvaultDatabase): HoldReader {
  return {
    findHold: person =>
      namingFailures(async () => {
        const { rows } = await sql<Hold>`
          select person, held_until::text as until, reason, held_at as "heldAt" from pii_vault.legal_holds
          where person = ${person} and held_until >= ${today}`.execute(database)
        return rows[0]
      }),

    readHeld: () =>
      namingFailures(async () => {
        const { rows } = await sql<{ person: string }>`
          select person from pii_vault.legal_holds where held_until >= ${today}`.execute(database)
        return new Set(rows.map(({ person }) => person))
      }),
  }
}

/** Legal holds, as the role `tokenvault_privacy` makes and releases them. */
export function createHoldStore(database: TokenvaultDatabase): HoldStore {
  return {
    ...createHoldReader(database),

    hold: ({ person, until, reason }) =>
      namingFailures(() =>
        database.transaction().execute(async transaction => {
          await lockHolds(transaction)
          await sql`
            insert into pii_vault.legal_holds (person, held_until, reason) values (${person}, ${until}::date, ${reason})
            on conflict (person) do update
            set held_until = excluded.held_until, reason = excluded.reason, held_at = now()`.execute(transaction)
        }),
      ),

    release: person =>
      namingFailures(async () => {
        const { rows } = await sql<{ is_over: boolean }>`
          delete from pii_vault.legal_holds where person = ${person}
          returning held_until < ${today} as is_over`.execute(database)
        return rows.some(({ is_over: isOver }) => !isOver)
      }),
  }
}

/** Until the transaction ends, nobody makes a hold, on anybody; holds can be read. */
export async function lockHolds(transaction: TokenvaultDatabase): Promise<void> {
  await sql`lock table pii_vault.legal_holds in share row exclusive mode`.execute(transaction)
}
