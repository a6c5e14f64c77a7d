import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { sql } from 'kysely'
import { prepareDatabase } from '../../src/compose/prepare-database.ts'
import { loadConfig } from '../../src/config/load.ts'
import { startPostgres } from '../../src/embedded/postgres.ts'
import { createDatabase, type TokenvaultDatabase } from '../../src/store/postgres/database.ts'
import { ensureDatabase } from '../../src/store/setup/ensure-database.ts'

/** A durable Postgres with a log of so many events and no index yet. */
export interface Setting {
  readonly database: TokenvaultDatabase
  /** Bytes of a table or an index. */
  size(relation: string): Promise<number>
  close(): Promise<void>
}

const insertedAtOnce = 250_000

export async function openSetting(events: number): Promise<Setting> {
  const directory = mkdtempSync(join(tmpdir(), 'tokenvault-bench-'))
  const KEK_FILE = join(directory, 'kek')
  writeFileSync(KEK_FILE, randomBytes(32), { mode: 0o600 })
  const postgres = await startPostgres({ dataDir: directory, port: 0 })
  const DATABASE_URL = await ensureDatabase(postgres.adminUrl, 'tokenvault')
  await prepareDatabase(loadConfig('migrate', { DATABASE_URL, KEK_FILE }), { environment: {} })
  const database = createDatabase({
    ...{ url: DATABASE_URL, poolMax: 2, applicationName: 'bench', statementTimeoutMilliseconds: 600_000 },
  })
  await growLog(database, events)
  return {
    database,
    async size(relation) {
      const { rows } = await sql<{ size: string }>`select pg_table_size(${relation}::regclass) as size`.execute(
        database,
      )
      return Number(rows[0]!.size)
    },
    async close() {
      await database.destroy()
      await postgres.stop()
      rmSync(directory, { recursive: true, force: true })
    },
  }
}

/** The principal of event n; low numbers are busy, and 199 is in one of 3,200 events. */
export const principals = 200

/** Nine months of events, past the functions that append: no tree is made, which no search reads. */
async function growLog(database: TokenvaultDatabase, events: number): Promise<void> {
  const stepMilliseconds = Math.floor((270 * 86_400_000) / events)
  for (let first = 0; first < events; first += insertedAtOnce) {
    const last = Math.min(events, first + insertedAtOnce) - 1
    await sql`
      insert into pii_vault.audit_log (sequence, event, leaf_hash)
      select n, event, sha256('\\x00'::bytea || event) from (
        select n, convert_to(format(
          '{"format":2,"type":"%s","at":"%s","requestId":"%s","issuer":"https://issuer.example","subject":"user-%s","roles":["investigator"],"client":"desk-%s"%s,"channel":"http","purpose":"%s","decision":"%s"%s,"requested":%s,"granted":%s,"fields":{"%s":{"requested":%s,"granted":%s,"level":"full"}},"tokens":[%s],"withheld":{}%s,"policy":"52cdfbdb55456072"}',
          case when r % 25 = 0 then 'tokenize' else 'detokenize' end,
          to_char(timestamp '2026-01-01' + n * ${stepMilliseconds} * interval '1 millisecond', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
          encode(substr(hash, 1, 16), 'hex')::uuid,
          subject, r % 12,
          case when r % 3 = 0 then format(',"actor":{"subject":"backend-%s"}', r % 4) else '' end,
          (array['fraud_investigation','fraud_investigation','fraud_investigation','customer_support','customer_support','account_recovery','data_subject_request','audit'])[1 + r % 8],
          case when refused then 'refused' else 'permitted' end,
          case when refused then ',"code":"purpose_not_permitted"' else '' end,
          items, case when refused then 0 else items end,
          case when r % 2 = 0 then 'ip' else 'device_id' end, items, case when refused then 0 else items end,
          case when refused then '' else (
            select string_agg('"' || left(translate(encode(sha256(int8send(mod(n * 7919 + item * 104729, 3000000))), 'base64'), '+/', '-_'), 22) || '"', ',')
            from generate_series(1, items) as item) end,
          case when r % 4 < 3 then format(',"ticket":"SEC-%s"', 100000 + n / 5) else '' end
        ), 'UTF8') as event
        from (
          select n, hash, r, refused, least(199, floor(200 * power((get_byte(hash, 8) * 256 + get_byte(hash, 9)) / 65536.0, 3)))::int as subject,
            case when get_byte(hash, 10) < 2 then 50 else 1 end as items
          from (
            select n, hash, get_byte(hash, 0) * 65536 + get_byte(hash, 1) * 256 + get_byte(hash, 2) as r, get_byte(hash, 11) < 12 as refused
            from (select n, sha256(int8send(n)) as hash from generate_series(${first}::bigint, ${last}::bigint) as n) as numbered
          ) as drawn
        ) as shaped
      ) as made`.execute(database)
  }
  await sql`update pii_vault.audit_head set tree_size = ${events}`.execute(database)
  await sql`vacuum analyze pii_vault.audit_log`.execute(database)
}
