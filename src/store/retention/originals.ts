import { sql } from 'kysely'
import type { AuditEvent } from '../../vault/admission/ports.ts'
import type { TokenId } from '../../vault/tokens/ports.ts'
import { plainArray, textArray } from '../postgres/array-literal.ts'
import { inTransaction, namingFailures, type TokenvaultDatabase } from '../postgres/database.ts'
import { appendEvent, patiently, waitBriefly } from './transaction.ts'

/** Where rows hold the tokens of a field. */
export type TokenPlace =
  /** Column of public.user_logins. */
  | { readonly kind: 'column'; readonly column: string }
  /** analyst.ip_networks, by the tokens of addresses in this column of public.user_logins. */
  | { readonly kind: 'network'; readonly addressColumn: string }

/** Originals of one field that were stored, and seen in rows that are gone, before a UTC day. */
export interface ExpiringField {
  readonly field: string
  readonly place: TokenPlace
  /** `2025-01-31` */
  readonly before: string
  /** User ids of people under a legal hold. */
  readonly held: readonly string[]
}

/** An original that may be too old, and its token. */
export interface Expiring {
  readonly tokenId: TokenId
  readonly token: string
}

/** Originals for who deletes old ones, with the owner's right. */
export interface ExpiringStore {
  /** Those that no dropped or archived row says otherwise of, in order of token id. @throws `store_unavailable` */
  readCandidates(
    expiring: ExpiringField,
    page: { readonly after: TokenId | undefined; readonly limit: number },
  ): Promise<readonly { readonly tokenId: TokenId; readonly tokenKeyVersion: number }[]>
  /** Those of them that no row since that day holds, nor any row of somebody who is held. @throws `store_unavailable` */
  findUnseen(expiring: ExpiringField, candidates: readonly Expiring[]): Promise<readonly Expiring[]>
  /**
   * Deletes those that are still unseen, and appends the event of it. Whoever stores rows waits meanwhile: so give it few.
   *
   * @param describe the event of so many; none is appended for 0
   * @returns how many were deleted
   */
  expire(expiring: ExpiringField, unseen: readonly Expiring[], describe: (count: number) => AuditEvent): Promise<number>
}

/** @param database a connection that may act as tokenvault_owner */
export function createExpiringStore(database: TokenvaultDatabase): ExpiringStore {
  return {
    readCandidates: ({ field, before }, { after, limit }) =>
      namingFailures(async () => {
        const { rows } = await sql<{ tokenId: TokenId; tokenKeyVersion: number }>`
          select replace(token_id::text, '-', '') as "tokenId", token_key_version as "tokenKeyVersion"
          from pii_vault.originals as original
          where token_id > ${after ?? '00000000000000000000000000000000'}::uuid and field = ${field} and not kept_elsewhere
            and created_at < (${before}::date at time zone 'UTC')
            and coalesce(last_seen + interval '1 month' <= ${before}::date, true)
            and not exists (select from pii_vault.archived_tokens as archived
              where archived.token_id = original.token_id and archived.field = original.field
                and archived.month + interval '1 month' > ${before}::date)
          order by token_id limit ${limit}`.execute(database)
        return rows
      }),

    findUnseen: (expiring, candidates) => namingFailures(() => findUnseen(database, expiring, candidates)),

    expire: (expiring, unseen, describe) =>
      namingFailures(() =>
        patiently(() =>
          inTransaction(database, async transaction => {
            await sql`set local role tokenvault_owner`.execute(transaction)
            await waitBriefly(transaction)
            // Whoever stores a row has inserted its originals in the same transaction. So this waits for all rows that rely on one,
            // and none begins before the transaction ends: what is unseen now has no row, and gets its original anew with the next.
            await sql`lock table pii_vault.originals in share row exclusive mode`.execute(transaction)
            const still = await findUnseen(transaction, expiring, unseen)
            if (still.length === 0) return 0
            const { rows } = await sql<{ count: string }>`
              with deleted as (
                delete from pii_vault.originals
                where token_id = any (${plainArray(still.map(({ tokenId }) => tokenId))}::uuid[])
                  and field = ${expiring.field} and not kept_elsewhere
                returning token_id, field
              ), noted as (
                insert into pii_vault.expired_originals (token_id, field) select token_id, field from deleted
                on conflict (token_id) do update set expired_at = excluded.expired_at returning 1
              )
              select count(*) as count from noted`.execute(transaction)
            const count = Number(rows[0]!.count)
            if (count > 0) await appendEvent(transaction, describe(count))
            return count
          }),
        ),
      ),
  }
}

async function findUnseen(
  database: TokenvaultDatabase,
  { place, before, held }: ExpiringField,
  candidates: readonly Expiring[],
): Promise<readonly Expiring[]> {
  if (candidates.length === 0) return []
  const column = sql.id(place.kind === 'column' ? place.column : place.addressColumn)
  const counts = sql`(login.create_date >= ${before}::date or login.user_id = any (${textArray(held)}::text[]))`
  const { rows } = await sql<{ token: string }>`
    select token from unnest(${textArray(candidates.map(({ token }) => token))}::text[]) as token
    where not exists (${
      place.kind === 'column'
        ? sql`select from public.user_logins as login where login.${column} = token::${await typeOf(database, place.column)} and ${counts}`
        : sql`select from analyst.ip_networks as network join public.user_logins as login
            on login.${column} = network.masked_ip::${await typeOf(database, place.addressColumn)}
            where network.masked_network = token and ${counts}`
    })`.execute(database)
  const unseen = new Set(rows.map(({ token }) => token))
  return candidates.filter(({ token }) => unseen.has(token))
}

/** Tokens of typed formats stand in columns of these types. */
async function typeOf(database: TokenvaultDatabase, column: string) {
  const { rows } = await sql<{ type: string }>`
    select format_type(atttypid, null) as type from pg_attribute
    where attrelid = 'public.user_logins'::regclass and attname = ${column} and not attisdropped`.execute(database)
  const type = rows[0]?.type
  return type === 'uuid' || type === 'inet' ? sql.raw(type) : sql.raw('text')
}
