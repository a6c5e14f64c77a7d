import { sql } from 'kysely'
import type { CheckpointStore } from '../vault/evidence/ports.ts'
import type { TokenvaultDatabase } from './postgres/database.ts'
import { namingFailures } from './postgres/errors.ts'

/** Keeps checkpoints in the database, beside the log. One of a size that the tree does not have yet is `store_refused`. */
export function createCheckpointStore(database: TokenvaultDatabase): CheckpointStore {
  return {
    insertCheckpoint: ({ treeSize, note }) =>
      namingFailures(async () => {
        await sql`select pii_vault.insert_checkpoint(${treeSize}, ${note})`.execute(database)
      }),
  }
}
