import { TokenvaultError } from '../../errors.ts'
import { type Checkpoint, openCheckpoint, signCheckpoint } from '../../tlog/checkpoint.ts'
import type { LogKeys, LogVerifier } from '../../tlog/key-history.ts'
import { foldRoots, verifyConsistency } from '../../tlog/merkle.ts'
import { type AnySigner, readVerifierOf } from '../admission/log-signer.ts'
import type {
  AuditHead,
  AuditReader,
  CheckpointSink,
  CheckpointStore,
  PublishedCheckpoints,
  StoredCheckpoint,
} from './ports.ts'
import { readConsistencyPath, readStoredCheckpoints, type StoredCheckpoints } from './prove.ts'

/**
 * Signs the log as it stands, keeps the checkpoint and publishes it. A tree that did not grow gets no new one. The newest
 * that is kept is published first where this process has not done so, so that a crash in between loses none. Those made while a
 * sink was away are not published later: the one after them says all that they say.
 *
 * Before it signs, it proves that the tree has grown out of the newest checkpoint that this vault signed, and out of all that
 * were kept since the last one that this process knows: a log that was rewritten gets no fresh signature. Whoever has
 * the API's password can keep notes that nobody signed, too; these are reported and passed over. Where one has taken the
 * place of the checkpoint that is due, that is a failure, and the next size gets one.
 *
 * A process that has just started knows the newest checkpoint that was published: where the log does not hold it, because a standby
 * without it took over or a backup was restored, it refuses as the process before it did. While what was published cannot be
 * read, checkpoints are signed and kept, and none is published.
 *
 * Not to be called again before it has settled. Any number of processes may do so at once.
 *
 * @returns the newest checkpoint, kept and published; undefined while there is none
 * @throws TokenvaultError `audit_invalid`, and nothing was signed; `checkpoint_unavailable` where it is kept in the
 *   database only; `store_unavailable`
 */
export type MakeCheckpoint = () => Promise<StoredCheckpoint | undefined>

/**
 * @param deps.sink absent: checkpoints stay in the database
 * @param deps.published what the sink holds; absent where it cannot be read back
 * @param deps.onInvalid told `audit_invalid` when stored notes are found that are not checkpoints of this vault, and again only
 *   when others are
 */
export function createMakeCheckpoint(deps: {
  readonly reader: AuditReader
  readonly store: CheckpointStore
  /** Trees beyond a hand-over are signed by the key that took over. */
  readonly signer: AnySigner
  readonly sink?: CheckpointSink | undefined
  readonly published?: PublishedCheckpoints | undefined
  readonly onInvalid?: ((error: TokenvaultError) => void) | undefined
}): MakeCheckpoint {
  const { reader, store, signer, sink, published, onInvalid } = deps
  /** The newest one that this process knows of, whatever happens to the database. */
  let remembered: Checkpoint | undefined
  let publishedSize: number | undefined
  let isPublishedKnown = published === undefined
  let reported: string | undefined

  let publishedHandOvers = 0

  const publish = async (checkpoint: StoredCheckpoint) => {
    if (publishedSize === checkpoint.treeSize) return
    // Whoever reads the checkpoint can learn its key.
    const handOvers = await reader.readHandOvers()
    for (const handOver of handOvers.slice(publishedHandOvers)) await sink?.publishHandOver?.(handOver)
    publishedHandOvers = handOvers.length
    await sink?.publish(checkpoint)
    publishedSize = checkpoint.treeSize
  }
  const report = ({ invalid, largestInvalid }: StoredCheckpoints) => {
    const state = invalid === 0 ? undefined : `${invalid} ${largestInvalid}`
    if (state !== undefined && state !== reported)
      onInvalid?.(
        new TokenvaultError(
          'audit_invalid',
          `${invalid} stored notes are not checkpoints that this vault signed for their size, the largest of size ${largestInvalid}`,
        ),
      )
    reported = state
  }
  /** Keeps it, unless something else is kept under its size already: then nobody ever sees it. */
  const keep = async (checkpoint: StoredCheckpoint) => {
    await store.insertCheckpoint(checkpoint)
    // The same tree always gets the same note.
    if ((await reader.checkpointAt(checkpoint.treeSize))?.note === checkpoint.note) return
    throw new TokenvaultError('audit_invalid', `another note has the place of the checkpoint of ${checkpoint.treeSize}`)
  }

  /** With the keys of every hand-over by which they may have been signed. */
  const readStored = async (from: number | undefined): Promise<[StoredCheckpoints, LogVerifier]> => {
    for (;;) {
      const verifier = await readVerifierOf(signer)
      const stored = await readStoredCheckpoints(reader, verifier, from)
      if ((await readVerifierOf(signer)).spans.length === verifier.spans.length) return [stored, verifier]
    }
  }

  /** Remembers the newest one that was published, as if this process had signed it. */
  const learnPublished = async () => {
    if (isPublishedKnown) return
    const [{ placed }, verifier] = await readStored(undefined)
    const newest = await published?.findNewest(placed[0]?.checkpoint.treeSize ?? 0)
    if (newest !== undefined) remembered = openPublished(newest, verifier)
    isPublishedKnown = true
  }

  return async () => {
    // A sink that is away now is left alone until the next time.
    let failure = await learnPublished().then(() => undefined, pickUnavailable)
    // In this order: whatever is appended in between only makes the tree larger than the checkpoint.
    const [stored] = await readStored(remembered?.treeSize)
    const head = await reader.readHead()
    report(stored)
    checkRemembered(remembered, stored)
    const root = rootOf(head)
    for (const checkpoint of signedOf(stored)) await checkGrown(reader, checkpoint, { treeSize: head.treeSize, root })
    // One that a crash left unpublished comes first; and where another history was published, nothing is signed at all.
    let current = stored.placed[0]?.stored
    if (current !== undefined && failure === undefined)
      failure = await publish(current).then(() => undefined, pickUnavailable)
    remembered = stored.placed[0]?.checkpoint
    if (head.treeSize > (current?.treeSize ?? 0)) {
      const { treeSize } = head
      // Read after the head: a tree that is larger than it was at a hand-over shows that hand-over.
      const verifier = await readVerifierOf(signer)
      const due = 'forTree' in signer ? await signer.forTree(treeSize, verifier) : signer
      current = { treeSize, note: signCheckpoint(due, { treeSize, root }) }
      await keep(current)
      remembered = openCheckpoint(current.note, verifier)
    }
    if (current === undefined) return undefined
    if (failure !== undefined) throw failure
    await publish(current)
    return current
  }
}

/** @returns a failure of the sink, which will be back. @throws any other */
function pickUnavailable(error: unknown): TokenvaultError {
  if (error instanceof TokenvaultError && error.code === 'checkpoint_unavailable') return error
  throw error
}

/**
 * Compares the log with a checkpoint that was kept outside of the database.
 *
 * @throws TokenvaultError `audit_invalid` where the log has not grown out of it, `checkpoint_invalid` where it is not signed by
 *   the verifier's key, `store_unavailable`
 */
export async function checkHolds(reader: AuditReader, note: string, verifier: LogKeys): Promise<Checkpoint> {
  const checkpoint = openCheckpoint(note, verifier, { isProven: true })
  const head = await reader.readHead()
  await checkGrown(reader, checkpoint, { treeSize: head.treeSize, root: rootOf(head) })
  return checkpoint
}

/** @throws TokenvaultError `audit_invalid` for a note that this vault did not sign for its size: another one publishes there */
function openPublished({ treeSize, note }: StoredCheckpoint, verifier: LogKeys): Checkpoint {
  try {
    const checkpoint = openCheckpoint(note, verifier, { isProven: true })
    if (checkpoint.treeSize === treeSize) return checkpoint
  } catch (error) {
    if (!(error instanceof TokenvaultError)) throw error
  }
  throw new TokenvaultError(
    'audit_invalid',
    `the newest published note, of size ${treeSize}, is not a checkpoint of this vault: another vault or log publishes to the same place`,
  )
}

/** @throws TokenvaultError `audit_invalid` where the newest one known is gone, or became another: nothing may do that */
function checkRemembered(remembered: Checkpoint | undefined, { placed }: StoredCheckpoints): void {
  if (remembered === undefined) return
  const { treeSize, root } = remembered
  const found = placed.find(({ checkpoint }) => checkpoint.treeSize === treeSize)
  if (found === undefined)
    throw new TokenvaultError('audit_invalid', `the checkpoint of size ${treeSize} was removed or replaced`)
  if (Buffer.compare(found.checkpoint.root, root) !== 0)
    throw new TokenvaultError('audit_invalid', `the checkpoint of size ${treeSize} was replaced`)
}

/** Checkpoints that this vault signed, out of which the log must have grown. A smaller one that does not fit would say no more than these. */
function signedOf({ placed, strayed }: StoredCheckpoints): readonly Checkpoint[] {
  const signed = placed.map(({ checkpoint }) => checkpoint)
  return strayed !== undefined && strayed.treeSize > (signed[0]?.treeSize ?? 0) ? [strayed, ...signed] : signed
}

/** Root of the tree as its head says. @throws TokenvaultError `audit_invalid` for a head that belongs to no tree of its size */
export function rootOf({ treeSize, subtreeRoots }: AuditHead): Uint8Array {
  const ones = treeSize.toString(2).replaceAll('0', '').length
  if (subtreeRoots.length !== ones) throw new TokenvaultError('audit_invalid', 'the head does not fit its own size')
  return foldRoots(subtreeRoots)
}

/** Proves growth. @throws TokenvaultError `audit_invalid` unless the tree has grown out of the checkpoint, or is still the same */
export async function checkGrown(
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
