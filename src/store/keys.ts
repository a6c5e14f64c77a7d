import type { KeyReader, KeyWriter } from '../vault/ports.ts'
import type { TokenvaultDatabase } from './database.ts'
import { namingFailures } from './failure.ts'

/** Wrapped keys, for processes that may only read them. */
export function createKeyReader(database: TokenvaultDatabase): KeyReader {
  return {
    readKeys: () =>
      namingFailures(() =>
        database
          .selectFrom('pii_vault.keys')
          .select(['purpose', 'field', 'version', 'status', 'kek_id as kekId', 'wrapped'])
          .orderBy('purpose')
          .orderBy('field')
          .orderBy('version')
          .execute(),
      ),
  }
}

/** Wrapped keys, for the owner. A key that is there is never replaced. */
export function createKeyWriter(database: TokenvaultDatabase): KeyWriter {
  return {
    ...createKeyReader(database),
    insertKeys: keys =>
      namingFailures(async () => {
        const rows = keys.map(({ kekId, wrapped, ...key }) => ({
          ...key,
          kek_id: kekId,
          wrapped: Buffer.from(wrapped),
        }))
        await database
          .insertInto('pii_vault.keys')
          .values(rows)
          .onConflict(conflict => conflict.doNothing())
          .execute()
      }),
  }
}
