import { randomBytes } from 'node:crypto'
import pg from 'pg'

/** One connection that inserts rows like originals, a transaction a call's worth, and does nothing else. */
export interface PlainInsert {
  /** @returns rows a second */
  run(seconds: number): Promise<number>
  close(): Promise<void>
}

/** Sealed originals of a device id are as long as this. */
const sealedBytes = 68

/** @param size rows of a transaction */
export async function openPlainInsert(url: string, size: number): Promise<PlainInsert> {
  const client = new pg.Client({ connectionString: url, application_name: 'bench' })
  await client.connect()
  await client.query('CREATE SCHEMA IF NOT EXISTS bench')
  await client.query('CREATE TABLE bench.plain_originals (LIKE pii_vault.originals INCLUDING ALL)')
  return {
    async run(seconds) {
      const startedAt = performance.now()
      let rows = 0
      while (performance.now() - startedAt < seconds * 1000) {
        // Sorted, as whoever stores beside others has to; the texts are what the statement takes with the least work here.
        const ids = Array.from({ length: size }, () => randomBytes(16).toString('hex')).sort()
        const sealed = ids.map(() => `"\\\\x${randomBytes(sealedBytes).toString('hex')}"`)
        await client.query(
          `INSERT INTO bench.plain_originals (token_id, field, token_key_version, data_key_version, sealed)
           SELECT id, 'device_id', 1, 1, sealed FROM unnest($1::uuid[], $2::bytea[]) AS row (id, sealed)`,
          [`{${ids.join(',')}}`, `{${sealed.join(',')}}`],
        )
        rows += size
      }
      return (rows * 1000) / (performance.now() - startedAt)
    },
    close: () => client.end(),
  }
}
