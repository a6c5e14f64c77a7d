import { sql } from 'kysely'
import { DatabaseError } from 'pg'
import { TokenvaultError } from '../errors.ts'
import type { IngestStore, Stored, TokenizedMessage } from '../ingest/ports.ts'
import type { ClearColumn } from '../vault/fields/clear-columns.ts'
import type { FieldSchema } from '../vault/fields/fields.ts'
import { requireKeysInUse } from './keys-in-use.ts'
import { plainArray, textArray } from './postgres/array-literal.ts'
import { inTransaction, namingFailures, retryingConflicts, type TokenvaultDatabase } from './postgres/database.ts'
import type { UserLoginsTable } from './postgres/schema.ts'
import { countDetails, createStoreRows } from './store-rows.ts'

/**
 * Stores what messages become: delivery records, originals, rows and quarantine in one transaction, so that a message
 * takes effect once or not at all. Everything with a unique key goes in sorted, because concurrent batches that lock
 * the same keys in different orders deadlock.
 *
 * @param fields the order of each row's tokens, and the columns they go to
 * @param clear the order of each row's clear values, and the columns they go to
 */
export function createIngestStore(
  database: TokenvaultDatabase,
  fields: FieldSchema,
  clear: readonly ClearColumn[] = [],
): IngestStore {
  const storeRows = createStoreRows(fields, clear)
  const knownDays = new Set<string>()

  return {
    storeMessages: messages =>
      namingFailures(async () => {
        await ensureDays(database, knownDays, messages)
        return inTransaction(database, async (transaction): Promise<Stored> => {
          const fresh = await insertDeliveryRecords(transaction, messages)
          const effective = new Set(fresh.map(({ messageId }) => messageId))
          const repeated = new Set(messages.flatMap(({ messageId }) => (effective.has(messageId) ? [] : [messageId])))
          const rows = fresh.flatMap(message => message.rows)
          await storeRows(transaction, rows)
          const quarantined = await insertQuarantined(transaction, fresh)
          return { rows: rows.length, quarantined, duplicates: repeated.size, repeated }
        }).catch(error => {
          // A partition that was there went: the next try makes it again, or learns that a clock is wrong.
          if (!(isDatabaseError(error, '23514') && error.table === 'receipts')) throw error
          knownDays.clear()
          throw new TokenvaultError(
            'store_unavailable',
            'a day of delivery records was dropped meanwhile; SQLSTATE 23514',
          )
        })
      }),
  }
}

/** Partitions for days that this process has not met yet, outside the batch's transaction: their locks are held briefly. */
async function ensureDays(
  database: TokenvaultDatabase,
  known: Set<string>,
  messages: readonly TokenizedMessage[],
): Promise<void> {
  const days = [...new Set(messages.map(({ sentOn }) => sentOn))].filter(day => !known.has(day))
  if (days.length === 0) return
  try {
    await retryingConflicts(() => sql`select ingest.ensure_partitions(${days}::date[])`.execute(database))
  } catch (error) {
    // The database says that a day is out of range. Where the clock here does not, the days are not to blame.
    if (isDatabaseError(error, '22008') && days.every(isInRange))
      throw new TokenvaultError(
        'store_unavailable',
        'the clocks of the database and of this host differ by days; correct the wrong one; the database answered: SQLSTATE 22008',
      )
    throw error
  }
  await retryingConflicts(() => sql`select ingest.drop_expired_delivery_records()`.execute(database))
  for (const day of days) known.add(day)
}

/** The days for which ingest.ensure_partitions makes partitions, by the clock of this host. */
function isInRange(day: string): boolean {
  const daysAhead = (Date.parse(day) - Date.now()) / (24 * 3600 * 1000)
  return daysAhead > -31 && daysAhead <= 2
}

function isDatabaseError(error: unknown, sqlState: string): error is DatabaseError {
  return error instanceof DatabaseError && error.code === sqlState
}

/** @returns the messages whose delivery record was not there yet */
async function insertDeliveryRecords(
  transaction: TokenvaultDatabase,
  messages: readonly TokenizedMessage[],
): Promise<TokenizedMessage[]> {
  const sorted = messages.toSorted((a, b) => compare(a.messageId, b.messageId))
  const { rows } = await sql<{ message_id: string }>`
    insert into ingest.receipts (sent_on, message_id, rows_stored, rows_quarantined, details_stored)
    select * from unnest(
      ${plainArray(sorted.map(({ sentOn }) => sentOn))}::date[],
      ${textArray(sorted.map(({ messageId }) => messageId))}::text[],
      ${plainArray(sorted.map(message => message.rows.length))}::int[],
      ${plainArray(sorted.map(message => message.quarantined.length))}::int[],
      ${plainArray(sorted.map(message => countDetails(message)))}::int[])
    on conflict do nothing
    returning message_id`.execute(transaction)
  const fresh = new Set(rows.map(row => row.message_id))
  return messages.filter(({ messageId }) => fresh.has(messageId))
}

/** @returns how many were inserted */
export async function insertQuarantined(
  transaction: TokenvaultDatabase,
  messages: readonly TokenizedMessage[],
): Promise<number> {
  const rows = messages.flatMap(({ messageId, sentOn, quarantined }) =>
    quarantined.map(({ id, eventIndex, reason, dataKeyVersion, sealed }) => ({
      id,
      message_id: messageId,
      event_index: eventIndex,
      reason,
      data_key_version: dataKeyVersion,
      sealed: asBuffer(sealed),
      sent_on: sentOn,
    })),
  )
  await requireKeysInUse(
    transaction,
    [...new Set(rows.map(row => row.data_key_version))].map(version => ({ purpose: 'quarantine', field: '', version })),
  )
  // One parameter a value, and a statement takes 65,535 of them.
  for (let start = 0; start < rows.length; start += 5000) {
    await transaction
      .insertInto('pii_vault.quarantine')
      .values(rows.slice(start, start + 5000))
      .execute()
  }
  return rows.length
}

/** Some rows as an analyst sees them, in the table's own column order. @throws TokenvaultError `store_unavailable` */
export function readLogins(database: TokenvaultDatabase, limit: number): Promise<UserLoginsTable[]> {
  return namingFailures(() => database.selectFrom('public.user_logins').selectAll().limit(limit).execute())
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}
