import { type RawBuilder, sql } from 'kysely'
import { TokenvaultError } from '../errors.ts'
import type { StoredHandOver } from '../vault/admission/ports.ts'
import type {
  AuditHead,
  AuditReader,
  AuditView,
  CheckpointStore,
  StoredCheckpoint,
  StoredEvent,
} from '../vault/evidence/ports.ts'
import { namingFailures, retryingConflicts, type TokenvaultDatabase } from './postgres/database.ts'

/** Most events of a page, and bytes of them; one event may be larger. */
const pageEvents = 2000
const pageBytes = 4 * 1024 * 1024

/**
 * The log as `tokenvault_api` and `tokenvault_auditor` may read it. Nothing that is read is believed: rows that are
 * missing are left out, and whoever needs all of a range counts them.
 */
export function createAuditReader(database: TokenvaultDatabase): AuditReader {
  return {
    snapshot: work => readSnapshot(database, work),
    readHead: () => readHead(database),
    readHandOvers: () => readHandOvers(database),
    readSubtrees: (level, from, to) => readSubtrees(database, level, from, to),

    async readEvent(sequence) {
      const rows = await read<EventRow>(
        database,
        sql`select ${eventColumns} from pii_vault.audit_log where sequence = ${sequence}`,
      )
      return rows[0] && toEvent(rows[0])
    },

    async readLeafHashes(from, to) {
      const rows = await read<{ leaf_hash: Buffer }>(
        database,
        sql`select leaf_hash from pii_vault.audit_log where sequence >= ${from} and sequence < ${to} order by sequence`,
      )
      return rows.map(row => row.leaf_hash)
    },

    listCheckpoints: ({ below = Number.MAX_SAFE_INTEGER, limit }) =>
      readCheckpoints(database, sql`where tree_size < ${below} order by tree_size desc limit ${limit}`),

    async checkpointAt(treeSize) {
      return (await readCheckpoints(database, sql`where tree_size = ${treeSize}`))[0]
    },
  }
}

async function readHandOvers(database: TokenvaultDatabase): Promise<readonly StoredHandOver[]> {
  const rows = await read<{ keyVersion: number; treeSize: string; note: string }>(
    database,
    sql`select key_version as "keyVersion", tree_size as "treeSize", note
      from pii_vault.signing_hand_overs order by key_version`,
  )
  return rows.map(row => ({ ...row, treeSize: Number(row.treeSize) }))
}

/** Keeps checkpoints in the database, beside the log. One of a size that the tree does not have yet is `store_refused`. */
export function createCheckpointStore(database: TokenvaultDatabase): CheckpointStore {
  return {
    insertCheckpoint: ({ treeSize, note }) =>
      namingFailures(async () => {
        await retryingConflicts(() => sql`select pii_vault.insert_checkpoint(${treeSize}, ${note})`.execute(database))
      }),
  }
}

/** Columns of pii_vault.audit_log as EventRow has them. */
export const eventColumns = sql`audit_log.sequence, audit_log.event, audit_log.leaf_hash`

export interface EventRow {
  /** bigint, which pg gives as text. */
  readonly sequence: string
  readonly event: Buffer
  readonly leaf_hash: Buffer
}

export function toEvent({ sequence, event, leaf_hash: leafHash }: EventRow): StoredEvent {
  return { sequence: Number(sequence), event, leafHash }
}

/** Failures of statements are named; those of the work itself go on as they are. */
async function readSnapshot<T>(database: TokenvaultDatabase, work: (view: AuditView) => Promise<T>): Promise<T> {
  const outcome = await namingFailures(() =>
    database
      .transaction()
      .setIsolationLevel('repeatable read')
      .setAccessMode('read only')
      .execute(async snapshot => {
        // The work between two pages may take as long as it likes.
        await sql`set local idle_in_transaction_session_timeout = 0`.execute(snapshot)
        try {
          return { value: await work(viewOf(snapshot)) }
        } catch (error) {
          if (error instanceof TokenvaultError) throw error
          return { error }
        }
      }),
  )
  if ('error' in outcome) throw outcome.error
  return outcome.value
}

function viewOf(snapshot: TokenvaultDatabase): AuditView {
  return {
    readHead: () => readHead(snapshot),
    readHandOvers: () => readHandOvers(snapshot),
    readEvents: () => readEvents(snapshot),
    readSubtrees: (level, from, to) => readSubtrees(snapshot, level, from, to),
    async findSubtreeBeyond(level, count) {
      const rows = await read<{ index: string }>(
        snapshot,
        sql`select index from pii_vault.audit_subtrees
          where level = ${level} and (index < 0 or index >= ${count}) order by index limit 1`,
      )
      return rows[0] && Number(rows[0].index)
    },

    readCheckpoints: () => readCheckpoints(snapshot, sql`order by tree_size`),

    compareSearchIndex: () => compareSearchIndex(snapshot),
  }
}

/** Events whose blocks one statement compares: some seconds, whatever the log's size. */
const comparedAtOnce = 1 << 18

async function compareSearchIndex(snapshot: TokenvaultDatabase): Promise<{ missing: number; surplus: number }> {
  const [ends] = await read<{ next: string; end: string }>(
    snapshot,
    sql`select coalesce((select next_sequence from pii_vault.audit_blocks_head), 0) as next,
      coalesce(max(last_sequence) + 1, 0) as end from pii_vault.audit_blocks`,
  )
  // The head says how far the blocks reach.
  let missing = Number(ends!.end) < Number(ends!.next) ? 1 : 0
  let surplus = Number(ends!.end) > Number(ends!.next) ? 1 : 0
  for (let low = await findFirstBlock(snapshot), below = 0n; low !== undefined && below < largestSequence; ) {
    below = BigInt(low) + BigInt(comparedAtOnce)
    if (below > largestSequence) below = largestSequence
    const rows = await read<{ missing: string; surplus: string }>(
      snapshot,
      sql`select missing, surplus from pii_vault.compare_audit_blocks(${low}, ${below})`,
    )
    missing += Number(rows[0]!.missing)
    surplus += Number(rows[0]!.surplus)
    low = await findFirstBlock(snapshot, below)
  }
  return { missing, surplus }
}

const largestSequence = 2n ** 63n - 1n

/** Where the next block begins that is stored, wherever somebody put it. */
async function findFirstBlock(snapshot: TokenvaultDatabase, from?: bigint): Promise<string | undefined> {
  const rows = await read<{ first: string | null }>(
    snapshot,
    sql`select min(first_sequence) as first from pii_vault.audit_blocks
      where ${from === undefined ? sql`true` : sql`first_sequence >= ${from}`}`,
  )
  return rows[0]?.first ?? undefined
}

async function readHead(database: TokenvaultDatabase): Promise<AuditHead> {
  const rows = await read<{ tree_size: string; frontier: Buffer[] }>(
    database,
    sql`select tree_size, frontier from pii_vault.audit_head`,
  )
  // A missing head reads as an empty tree, which every stored event contradicts.
  return { treeSize: Number(rows[0]?.tree_size ?? 0), subtreeRoots: rows[0]?.frontier ?? [] }
}

/** Ties stay together: where somebody took the unique key away to store a sequence twice, both are read. */
async function* readEvents(snapshot: TokenvaultDatabase): AsyncGenerator<readonly StoredEvent[]> {
  let beyond = sql``
  while (true) {
    const rows = await read<EventRow>(
      snapshot,
      sql`
        select ${eventColumns} from (
          select *, min(sequence) over () as first, sum(octet_length(event)) over (order by sequence) as bytes_so_far
          from (
            select * from pii_vault.audit_log ${beyond} order by sequence fetch first ${sql.lit(pageEvents)} rows with ties
          ) as next
        ) as audit_log
        where bytes_so_far <= ${sql.lit(pageBytes)} or sequence = first order by sequence`,
    )
    const last = rows.at(-1)
    if (last === undefined) return
    yield rows.map(toEvent)
    beyond = sql`where sequence > ${last.sequence}`
  }
}

async function readSubtrees(database: TokenvaultDatabase, level: number, from: number, to: number): Promise<Buffer[]> {
  const rows = await read<{ root: Buffer }>(
    database,
    sql`select root from pii_vault.audit_subtrees
      where level = ${level} and index >= ${from} and index < ${to} order by index`,
  )
  return rows.map(({ root }) => root)
}

/** Longer than any note that a vault signs: a longer text is not one of its notes, and not worth the memory. */
const maxNoteBytes = 8192

async function readCheckpoints(database: TokenvaultDatabase, which: RawBuilder<unknown>): Promise<StoredCheckpoint[]> {
  const rows = await read<{ tree_size: string; note: string }>(
    database,
    sql`select tree_size, case when octet_length(note) <= ${sql.lit(maxNoteBytes)} then note else '' end as note
      from pii_vault.checkpoints ${which}`,
  )
  return rows.map(({ tree_size: treeSize, note }) => ({ treeSize: Number(treeSize), note }))
}

async function read<Row>(database: TokenvaultDatabase, statement: RawBuilder<unknown>): Promise<Row[]> {
  const { rows } = await namingFailures(() => statement.execute(database))
  return rows as Row[]
}
