import { sql } from 'kysely'
import type { RedriveOutcome, RedriveRequest, RedriveStore } from '../ingest/ports.ts'
import type { ClearColumn } from '../vault/fields/clear-columns.ts'
import type { FieldSchema } from '../vault/fields/fields.ts'
import { insertQuarantined } from './ingest.ts'
import { inTransaction, namingFailures, type TokenvaultDatabase } from './postgres/database.ts'
import { countDetails, createStoreRows } from './store-rows.ts'

/**
 * The quarantine as the worker's role may use it: only what an operator asked for, and only while it holds it. The row
 * locks of one transaction cover taking, storing and settling, so that of two workers one gets an entry, and a worker that
 * dies gives all of its entries back untouched.
 */
export function createRedriveStore(
  database: TokenvaultDatabase,
  fields: FieldSchema,
  clear: readonly ClearColumn[] = [],
): RedriveStore {
  const storeRows = createStoreRows(fields, clear)
  return {
    redrive: (most, decide) =>
      namingFailures(() =>
        inTransaction(database, async transaction => {
          const requests = await takeRequests(transaction, most)
          if (requests.length === 0) return []
          const outcomes = decide(requests)
          const messages = outcomes.flatMap(outcome => ('message' in outcome ? [outcome.message] : []))
          await storeRows(
            transaction,
            messages.flatMap(message => message.rows),
          )
          await insertQuarantined(transaction, messages)
          await settle(transaction, outcomes)
          return outcomes
        }),
      ),
  }
}

async function takeRequests(transaction: TokenvaultDatabase, most: number): Promise<RedriveRequest[]> {
  const { rows } = await sql<RedriveRequest>`
    select replace(id::text, '-', '') as id, message_id as "messageId", data_key_version as "dataKeyVersion", sealed,
      sent_on as "sentOn"
    from pii_vault.take_redrives(${most})`.execute(transaction)
  return rows
}

async function settle(transaction: TokenvaultDatabase, outcomes: readonly RedriveOutcome[]): Promise<void> {
  const reasons = outcomes.map(outcome => ('reason' in outcome ? outcome.reason : null))
  const stored = outcomes.map(outcome => ('message' in outcome ? outcome.message.rows.length : 0))
  const details = outcomes.map(outcome => ('message' in outcome ? countDetails(outcome.message) : 0))
  // The entry itself is not counted as quarantined any more; what it held that is not a valid event has entries of its own.
  const quarantined = outcomes.map(outcome => ('message' in outcome ? outcome.message.quarantined.length - 1 : 0))
  await sql`select pii_vault.settle_redrives(${outcomes.map(({ id }) => id)}::uuid[], ${reasons}::text[],
    ${stored}::int[], ${details}::int[], ${quarantined}::int[])`.execute(transaction)
}
