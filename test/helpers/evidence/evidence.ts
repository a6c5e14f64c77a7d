import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Test } from 'tap'
import type { TokenvaultError } from '../../../src/errors.ts'
import { createFileReader, createFileSink } from '../../../src/publish/sinks.ts'
import { createAuditReader, createCheckpointStore } from '../../../src/store/audit-reader.ts'
import { createNoteVerifier, type NoteSigner } from '../../../src/tlog/signed-note.ts'
import { createMakeCheckpoint } from '../../../src/vault/evidence/make-checkpoint.ts'
import type { CheckpointSink, CheckpointStore, PublishedCheckpoints } from '../../../src/vault/evidence/ports.ts'
import { temporaryDirectory } from '../embedded/embedded-directory.ts'
import { createVaultDatabase } from '../postgres/vault-database.ts'

/** A database with a log, what the API makes checkpoints with, and a directory that they go to. */
export async function startEvidence(t: Test) {
  const vault = await createVaultDatabase(t)
  const admin = await vault.connect()
  const directory = temporaryDirectory(t)
  const signer: NoteSigner = vault.keys.signer('tokenvault/default')
  const verifier = createNoteVerifier(signer.verifierKey)
  const database = vault.database('tokenvault_api', 2)
  const reader = createAuditReader(database)
  const store = createCheckpointStore(database)
  return {
    ...vault,
    admin,
    directory,
    signer,
    verifier,
    apiDatabase: database,
    reader,
    store,
    /** As another process would: it knows nothing of what the others did. */
    startMaker: (
      change: {
        sink?: CheckpointSink | undefined
        published?: PublishedCheckpoints
        store?: CheckpointStore
        onInvalid?: (error: TokenvaultError) => void
      } = {},
    ) => createMakeCheckpoint({ reader, store, signer, sink: createFileSink(directory), ...change }),
    /** What was published, as a process that starts reads it. */
    publishedBefore: createFileReader(directory),
    /** Appends events that say nothing, many at once. */
    async append(count: number) {
      await admin.query(
        `SELECT pii_vault.append_audit(array_agg(convert_to('{"type":"detokenize","n":' || n || '}', 'UTF8')))
          FROM generate_series(1, $1) AS n`,
        [count],
      )
    },
    /** Whatever an owner of the database could do. */
    async tamper(statement: string) {
      await admin.query(`SET session_replication_role = replica; ${statement}; RESET session_replication_role`)
    },
    published: () =>
      new Map(
        readdirSync(directory).map(name => [Number.parseInt(name, 10), readFileSync(join(directory, name), 'utf8')]),
      ),
    async kept() {
      const { rows } = await admin.query('SELECT tree_size::int AS size, note FROM pii_vault.checkpoints ORDER BY 1')
      return new Map(rows.map(({ size, note }) => [size as number, note as string]))
    },
  }
}

/** A sink that fails while it is told to, and otherwise remembers. */
export class MoodySink implements CheckpointSink {
  failure: unknown
  readonly sizes: number[] = []
  asked = 0

  async publish({ treeSize }: { treeSize: number }) {
    this.asked++
    if (this.failure !== undefined) throw this.failure
    this.sizes.push(treeSize)
  }
}
