import type { Test } from 'tap'
import { createTokenizeMessages, type SentMessage } from '../../../src/ingest/batch/tokenize-messages.ts'
import type { IngestEvent } from '../../../src/ingest/metrics/observe.ts'
import type { RedriveStore } from '../../../src/ingest/ports.ts'
import { createRedriver, type Redriver } from '../../../src/ingest/redrive/quarantine.ts'
import { createIngestStore } from '../../../src/store/ingest.ts'
import { createRedriveStore } from '../../../src/store/redrive.ts'
import { loginFields } from '../../../src/vault/fields/fields.ts'
import { createOpenQuarantined } from '../../../src/vault/quarantine/sealed-bodies.ts'
import type { VaultDatabase } from '../postgres/vault-database.ts'
import { createTestLog } from '../queue/server.ts'

/**
 * Puts bodies into quarantine the way a producer's fault of yesterday would: they are events by now. Each is the only
 * event of a message of its own.
 * @returns the ids of the entries, in order of the bodies
 */
export async function quarantine(
  vault: VaultDatabase,
  bodies: readonly string[],
  { reason = 'ip_invalid', prefix = 'message', sentAtMs = Date.now() } = {},
): Promise<string[]> {
  const sentOn = new Date(sentAtMs).toISOString().slice(0, 10)
  const messages = vault.sealQuarantined(bodies).map((sealed, index) => ({
    messageId: `${prefix}-${index}`,
    sentOn,
    rows: [],
    quarantined: [{ ...sealed, eventIndex: 0, reason }],
  }))
  await createIngestStore(vault.database('tokenvault_worker', 1), loginFields).storeMessages(messages)
  return messages.map(({ quarantined }) => quarantined[0]!.id)
}

/** Has messages ingested as a worker does it. */
export async function ingest(vault: VaultDatabase, messages: readonly SentMessage[]) {
  const store = createIngestStore(vault.database('tokenvault_worker', 1), loginFields)
  return store.storeMessages(createTokenizeMessages(vault.tokenizer, vault.sealQuarantined)(messages))
}

/** A worker's redriver on a pool of its own; `change` stands between it and its store. */
export function buildRedriver(
  vault: VaultDatabase,
  change: (store: RedriveStore) => RedriveStore = store => store,
): Redriver & { readonly logged: string[]; readonly told: IngestEvent[] } {
  const { log, logged } = createTestLog()
  const told: IngestEvent[] = []
  const redriver = createRedriver({
    store: change(createRedriveStore(vault.database('tokenvault_worker', 1), loginFields)),
    tokenizeMessages: createTokenizeMessages(vault.tokenizer, vault.sealQuarantined),
    openQuarantined: createOpenQuarantined(vault.keys),
    log,
    observe: event => void told.push(event),
    idleMilliseconds: 5,
  })
  return { ...redriver, logged, told }
}

/** What the tables say, as the superuser sees them. */
export async function readState(t: Test, vault: VaultDatabase) {
  const admin = await vault.connect()
  const { rows: states } = await admin.query<{ state: string; reason: string; redrives: number; kept: boolean }>(
    `SELECT state, reason, redrives, sealed IS NOT NULL AS kept FROM pii_vault.quarantine ORDER BY created_at, message_id, id`,
  )
  const { rows: logins } = await admin.query<{ user_id: string; create_date: string }>(
    'SELECT user_id, create_date::text FROM user_logins ORDER BY user_id',
  )
  const { rows: receipts } = await admin.query<{ stored: number; quarantined: number }>(
    'SELECT sum(rows_stored)::int AS stored, sum(rows_quarantined)::int AS quarantined FROM ingest.receipts',
  )
  const { rows: originals } = await admin.query<{ count: number }>('SELECT count(*)::int FROM pii_vault.originals')
  t.equal(receipts[0]!.stored ?? 0, logins.length, 'receipts count the rows')
  const kept = states.filter(({ state }) => state !== 'redriven')
  t.equal(receipts[0]!.quarantined ?? 0, kept.length, 'receipts count the entries that gave no rows')
  return { states, users: logins.map(({ user_id }) => user_id), logins, originals: originals[0]!.count }
}
