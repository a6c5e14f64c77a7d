import { type Checkpoint, openCheckpoint, signCheckpoint } from '../crypto/checkpoint.ts'
import { foldRoots, verifyConsistency } from '../crypto/merkle.ts'
import { createNoteVerifier, type NoteSigner } from '../crypto/signed-note.ts'
import { TokenvaultError } from '../errors.ts'
import type { AuditHead, AuditReader, CheckpointSink, CheckpointStore, StoredCheckpoint } from './evidence-ports.ts'
import { readConsistencyPath } from './prove.ts'

/**
 * Signs the log as it stands, keeps the checkpoint and publishes it. A tree that did not grow gets no new one. The newest
 * that is kept is published first where this process has not done so, so that a crash in between loses none. Those made while a
 * sink was away are not published later: the one after them says all that they say.
 *
 * Before it signs, it proves that the tree has grown out of the newest checkpoint, whose signature it checks: a log that
 * was rewritten gets no fresh signature.
 *
 * Not to be called again before it has settled. Any number of processes may do so at once.
 *
 * @returns the newest checkpoint, kept and published; undefined while the log is empty
 * @throws TokenvaultError `audit_invalid`, and nothing was signed; `checkpoint_unavailable` where it is kept in the
 *   database only; `store_unavailable`
 */
export type MakeCheckpoint = () => Promise<StoredCheckpoint | undefined>

/** @param deps.sink absent: checkpoints stay in the database */
export function createMakeCheckpoint(deps: {
  readonly reader: AuditReader
  readonly store: CheckpointStore
  readonly signer: NoteSigner
  readonly sink?: CheckpointSink | undefined
}): MakeCheckpoint {
  const { reader, store, signer, sink } = deps
  const verifier = createNoteVerifier(signer.verifierKey)
  /** The newest one that this process knows of, whatever happens to the database. */
  let remembered: Checkpoint | undefined
  let publishedSize: number | undefined

  const publish = async (checkpoint: StoredCheckpoint) => {
    if (publishedSize === checkpoint.treeSize) return
    await sink?.publish(checkpoint)
    publishedSize = checkpoint.treeSize
  }
  const readNewest = async () => {
    const stored = await reader.latestCheckpoint()
    if (stored === undefined) return undefined
    let checkpoint: Checkpoint
    try {
      checkpoint = openCheckpoint(stored.note, verifier)
    } catch (cause) {
      throw new TokenvaultError('audit_invalid', 'the newest checkpoint was not signed by this vault', { cause })
    }
    if (checkpoint.treeSize !== stored.treeSize)
      throw new TokenvaultError('audit_invalid', 'the newest checkpoint is not of the size it is kept under')
    return { stored, checkpoint }
  }

  return async () => {
    // In this order: whatever is appended in between only makes the tree larger than the checkpoint.
    const newest = await readNewest()
    const head = await reader.readHead()
    checkRemembered(remembered, newest?.checkpoint)
    const root = rootOf(head)
    if (newest !== undefined) await checkGrown(reader, newest.checkpoint, { treeSize: head.treeSize, root })
    // One that a crash left unpublished comes first; and where another history was published, nothing is signed at all.
    let failure: unknown
    if (newest !== undefined)
      await publish(newest.stored).catch(error => {
        if (!isUnavailable(error)) throw error
        failure = error
      })
    let current = newest?.stored
    if (head.treeSize > (current?.treeSize ?? 0)) {
      current = { treeSize: head.treeSize, note: signCheckpoint(signer, { treeSize: head.treeSize, root }) }
      await store.insertCheckpoint(current)
    }
    if (current === undefined) return undefined
    remembered = openCheckpoint(current.note, verifier)
    // A sink that was away a moment ago is left alone until the next time.
    if (failure !== undefined) throw failure
    await publish(current)
    return current
  }
}

function isUnavailable(error: unknown): boolean {
  return error instanceof TokenvaultError && error.code === 'checkpoint_unavailable'
}

/** @throws TokenvaultError `audit_invalid` where the newest one of before is gone, or became another */
function checkRemembered(remembered: Checkpoint | undefined, newest: Checkpoint | undefined): void {
  if (remembered === undefined) return
  const { treeSize, root } = remembered
  if (newest === undefined || newest.treeSize < treeSize)
    throw new TokenvaultError('audit_invalid', `the checkpoint of size ${treeSize} was removed`)
  if (newest.treeSize === treeSize && Buffer.compare(newest.root, root) !== 0)
    throw new TokenvaultError('audit_invalid', `the checkpoint of size ${treeSize} was replaced`)
}

/** @throws TokenvaultError `audit_invalid` for a head that belongs to no tree of its size */
function rootOf({ treeSize, subtreeRoots }: AuditHead): Uint8Array {
  const ones = treeSize.toString(2).replaceAll('0', '').length
  if (subtreeRoots.length !== ones) throw new TokenvaultError('audit_invalid', 'the head does not fit its own size')
  return foldRoots(subtreeRoots)
}

/** @throws TokenvaultError `audit_invalid` unless the tree has grown out of the checkpoint, or is still the same */
async function checkGrown(
  reader: AuditReader,
  checkpoint: Checkpoint,
  tree: { readonly treeSize: number; readonly root: Uint8Array },
): Promise<void> {
  const { treeSize: first, root: firstRoot } = checkpoint
  const { treeSize: second, root: secondRoot } = tree
  if (second < first)
    throw new TokenvaultError('audit_invalid', `the log has ${second} events, and a checkpoint of ${first}`)
  const path = await readConsistencyPath(reader, first, second)
  if (!verifyConsistency({ first, second, firstRoot, secondRoot, path }))
    throw new TokenvaultError(
      'audit_invalid',
      `the log of ${second} events has not grown out of its checkpoint of ${first}`,
    )
}
