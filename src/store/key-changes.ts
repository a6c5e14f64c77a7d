import { sql } from 'kysely'
import { TokenvaultError } from '../errors.ts'
import type { AuditEvent } from '../vault/admission/ports.ts'
import type { AuditHead } from '../vault/evidence/ports.ts'
import { formatKeyName, type KeyName } from '../vault/keys/keyset.ts'
import type { KeyRecord, KeyRecovery, KeyTransition, WrappedKey } from '../vault/keys/ports.ts'
import { dropRecovery, storeRecovery } from './key-recovery.ts'
import { checkOneKek } from './keys.ts'
import { awaitWriters } from './keys-in-use.ts'
import { inTransaction, namingFailures, type TokenvaultDatabase } from './postgres/database.ts'

/** One change of keys, applied whole or not at all, with its events in the same transaction. */
export interface KeyChange {
  readonly added?: readonly WrappedKey[]
  readonly transitions?: readonly KeyTransition[]
  /** Keys under another KEK: all that are not destroyed. */
  readonly rewrapped?: readonly WrappedKey[]
  /** A token key whose tokens are to be replaced, and the version that takes over. */
  readonly move?: { readonly from: KeyName; readonly toVersion: number } | undefined
  /** Of the keyset as it is after the change; absent where nobody is to recover it. */
  readonly recovery?: KeyRecovery | undefined
  /** Of the signing key: made of the log as it stands when the change is applied, and the event of it is the first beyond. */
  readonly handOver?: { readonly keyVersion: number; readonly sign: (head: AuditHead) => string } | undefined
  readonly events: readonly AuditEvent[]
}

/** Keys for their administrators, with the owner's right. */
export interface KeyAdministration {
  /** @throws `store_unavailable` */
  readRecords(): Promise<readonly KeyRecord[]>
  /**
   * How much would become unreadable without the key: originals of a data or token key, quarantined bodies of a quarantine
   * key. @throws `store_unavailable`
   */
  countContent(name: KeyName): Promise<number>
  /** Whether tokens of the field are still being replaced after the last rotation of its token key. @throws `store_unavailable` */
  isMoving(field: string): Promise<boolean>
  /** The database role that logged in. @throws `store_unavailable` */
  readLogin(): Promise<string>
  /** @throws `keys_changed` where a key no longer stands as the change says, `store_unavailable` */
  apply(change: KeyChange): Promise<void>
}

/** @param database a connection that may act as tokenvault_owner */
export function createKeyAdministration(database: TokenvaultDatabase): KeyAdministration {
  return {
    readRecords: () => namingFailures(() => readRecords(database)),
    countContent: name => namingFailures(() => countContent(database, name)),
    isMoving: field =>
      namingFailures(async () => {
        const { rows } = await sql`
          select from pii_vault.token_moves where field = ${field} and state = 'moving'`.execute(database)
        return rows.length > 0
      }),
    readLogin: () =>
      namingFailures(async () => {
        const { rows } = await sql<{ login: string }>`select session_user::text as login`.execute(database)
        return rows[0]!.login
      }),
    apply: change => namingFailures(() => inTransaction(database, transaction => apply(transaction, change))),
  }
}

/** Keys without their material, for any role that may read keys. @throws TokenvaultError `store_unavailable` */
export function createKeyRecordReader(database: TokenvaultDatabase): () => Promise<readonly KeyRecord[]> {
  return () => namingFailures(() => readRecords(database))
}

async function readRecords(database: TokenvaultDatabase): Promise<readonly KeyRecord[]> {
  const rows = await database
    .selectFrom('pii_vault.keys')
    .select([
      'purpose',
      'field',
      'version',
      'status',
      'kek_id',
      'created_at',
      'primary_since',
      'destroy_after',
      'unreadable',
      'destroyed_at',
    ])
    .orderBy('purpose')
    .orderBy('field')
    .orderBy('version')
    .execute()
  return rows.map(row => ({
    purpose: row.purpose,
    field: row.field,
    version: row.version,
    status: row.status,
    kekId: row.kek_id,
    createdAt: row.created_at,
    primarySince: row.primary_since ?? undefined,
    destroyAfter: row.destroy_after ?? undefined,
    unreadable: row.unreadable === null ? undefined : Number(row.unreadable),
    destroyedAt: row.destroyed_at ?? undefined,
  }))
}

async function countContent(database: TokenvaultDatabase, { purpose, field, version }: KeyName): Promise<number> {
  const counts = {
    data: sql`pii_vault.originals where field = ${field} and data_key_version = ${version}`,
    token: sql`pii_vault.originals where field = ${field} and token_key_version = ${version}`,
    quarantine: sql`pii_vault.quarantine where data_key_version = ${version} and sealed is not null`,
  }
  // What it signed is checked with its public half.
  if (purpose === 'signing') return 0
  if (purpose === 'audit') throw new TokenvaultError('internal', `what a key of ${purpose} wrote is not counted`)
  const { rows } = await sql<{ count: string }>`select count(*) as count from ${counts[purpose]}`.execute(database)
  return Number(rows[0]!.count)
}

async function apply(transaction: TokenvaultDatabase, change: KeyChange): Promise<void> {
  const { added = [], transitions = [], rewrapped = [], move, recovery, handOver, events } = change
  await sql`set local role tokenvault_owner`.execute(transaction)
  // One administrator at a time; whoever reads keys goes on.
  await sql`lock table pii_vault.keys in share row exclusive mode`.execute(transaction)
  const isTakenAway = transitions.some(({ to }) => to === 'disabled' || to === 'destroyed')
  if (isTakenAway) await awaitWriters(transaction)
  if (added.length > 0) await insert(transaction, added)
  if (move !== undefined) await startMove(transaction, move)
  for (const transition of transitions) await pass(transaction, transition)
  if (rewrapped.length > 0) await rewrap(transaction, rewrapped)
  if (recovery !== undefined) {
    if (!(await storeRecovery(transaction, recovery)))
      throw new TokenvaultError('keys_changed', 'the keys are not those that their recovery was made of')
  } else if (transitions.some(({ to }) => to === 'destroyed')) await dropRecovery(transaction)
  if (handOver !== undefined) await handSigningOver(transaction, handOver)
  const lines = events.map(event => Buffer.from(JSON.stringify(event), 'utf8'))
  await sql`select pii_vault.append_audit(${lines}::bytea[])`.execute(transaction)
}

/** Whoever appends waits for this, and is told of it. */
async function handSigningOver(
  transaction: TokenvaultDatabase,
  { keyVersion, sign }: NonNullable<KeyChange['handOver']>,
): Promise<void> {
  const { rows } = await sql<{ tree_size: string; frontier: Buffer[] }>`
    select tree_size, frontier from pii_vault.audit_head for update`.execute(transaction)
  const { tree_size: treeSize, frontier: subtreeRoots } = rows[0]!
  const note = sign({ treeSize: Number(treeSize), subtreeRoots })
  await sql`insert into pii_vault.signing_hand_overs (key_version, tree_size, note)
    values (${keyVersion}, ${treeSize}, ${note})`.execute(transaction)
}

async function insert(transaction: TokenvaultDatabase, keys: readonly WrappedKey[]): Promise<void> {
  await checkOneKek(transaction, keys)
  const rows = keys.map(({ kekId, wrapped, ...key }) => ({ ...key, kek_id: kekId, wrapped: Buffer.from(wrapped) }))
  const inserted = await transaction
    .insertInto('pii_vault.keys')
    .values(rows)
    .onConflict(conflict => conflict.columns(['purpose', 'field', 'version']).doNothing())
    .executeTakeFirst()
  if (Number(inserted.numInsertedOrUpdatedRows) !== keys.length)
    throw new TokenvaultError('keys_changed', `${formatKeyName(keys[0]!)} was made by somebody else`)
}

/** In the transaction that makes the new key the primary one: whoever writes with it knows which tokens it replaces. */
async function startMove(transaction: TokenvaultDatabase, move: NonNullable<KeyChange['move']>): Promise<void> {
  const { field, version } = move.from
  const { rows } = await sql`
    select from pii_vault.token_moves where field = ${field} and state = 'moving'`.execute(transaction)
  if (rows.length > 0) throw new TokenvaultError('token_move_unfinished', `tokens of ${field}`)
  await sql`
    insert into pii_vault.token_moves (field, token_key_version, to_version)
    values (${field}, ${version}, ${move.toVersion})`.execute(transaction)
}

async function pass(transaction: TokenvaultDatabase, transition: KeyTransition): Promise<void> {
  const { purpose, field, version, from, to, destruction } = transition
  const changed = await transaction
    .updateTable('pii_vault.keys')
    .set({
      status: to,
      // What a key was destroyed with stays on record.
      ...(to === 'destroyed'
        ? {}
        : { destroy_after: destruction?.after ?? null, unreadable: destruction?.unreadable ?? null }),
      ...(to === 'primary' ? { primary_since: sql<Date>`now()` } : {}),
      ...(to === 'destroyed' ? { wrapped: null, destroyed_at: sql<Date>`now()` } : {}),
    })
    .where('purpose', '=', purpose)
    .where('field', '=', field)
    .where('version', '=', version)
    .where('status', '=', from)
    // Counting what would be lost takes long: meanwhile somebody may have called it off and asked for it anew.
    .$if(to === 'destroyed', update =>
      update
        .where('destroy_after', '=', destruction?.after ?? null)
        .where('unreadable', '=', destruction === undefined ? null : String(destruction.unreadable)),
    )
    .executeTakeFirst()
  if (Number(changed.numUpdatedRows) !== 1)
    throw new TokenvaultError('keys_changed', `${formatKeyName(transition)} no longer stands as it did: it was ${from}`)
}

/** All keys or none: a vault of which two KEKs open a part each starts nowhere. */
async function rewrap(transaction: TokenvaultDatabase, keys: readonly WrappedKey[]): Promise<void> {
  const there = await transaction
    .selectFrom('pii_vault.keys')
    .select(['purpose', 'field', 'version'])
    .where('status', '<>', 'destroyed')
    .execute()
  const given = new Set(keys.map(formatKeyName))
  if (there.length !== keys.length || !there.every(name => given.has(formatKeyName(name))))
    throw new TokenvaultError('keys_changed', 'a key was added or destroyed')
  for (const { purpose, field, version, kekId, wrapped } of keys) {
    await transaction
      .updateTable('pii_vault.keys')
      .set({ kek_id: kekId, wrapped: Buffer.from(wrapped) })
      .where('purpose', '=', purpose)
      .where('field', '=', field)
      .where('version', '=', version)
      .execute()
  }
}
