import { sql } from 'kysely'
import type { CheckpointStore } from '../vault/evidence-ports.ts'
import type { TokenvaultDatabase } from './database.ts'
import { namingFailures } from './failure.ts'

/** Longer than any note that a vault signs. The function that keeps notes takes text of any length. */
const maxNoteBytes = 8192

/** Checkpoints in the database, beside the log. One of a size that the tree does not have yet is `store_refused`. */
export function createCheckpointStore(database: TokenvaultDatabase): CheckpointStore {
  return {
    listCheckpoints: ({ below = Number.MAX_SAFE_INTEGER, limit }) =>
      namingFailures(async () => {
        const { rows } = await sql<{ tree_size: string; note: string }>`
          select tree_size, case when octet_length(note) <= ${sql.lit(maxNoteBytes)} then note else '' end as note
          from pii_vault.checkpoints where tree_size < ${below} order by tree_size desc limit ${limit}`.execute(
          database,
        )
        return rows.map(({ tree_size: treeSize, note }) => ({ treeSize: Number(treeSize), note }))
      }),

    insertCheckpoint: ({ treeSize, note }) =>
      namingFailures(async () => {
        await sql`select pii_vault.insert_checkpoint(${treeSize}, ${note})`.execute(database)
      }),
  }
}
