import type { HandOverReader } from '../admission/ports.ts'
import type { Criteria } from './criteria.ts'

/**
 * The audit log as a transparency log, and who reads it. A *leaf* is the stored bytes of one event; a *checkpoint* is the
 * signed size and root of the tree (C2SP tlog-checkpoint); a *receipt* is the signed place of one event in it.
 */

export interface StoredEvent {
  readonly sequence: number
  /** The bytes that were hashed: JSON in UTF-8. */
  readonly event: Uint8Array
  readonly leafHash: Uint8Array
}

export interface AuditHead {
  readonly treeSize: number
  /** Roots of the full subtrees that the size is made of, largest first. */
  readonly subtreeRoots: readonly Uint8Array[]
}

export interface StoredCheckpoint {
  readonly treeSize: number
  /** Signed note. */
  readonly note: string
}

/** One consistent view of the log. Ranges are half open: from ≤ sequence < to. */
export interface AuditView extends HandOverReader {
  readHead(): Promise<AuditHead>
  /** Pages in ascending order of sequence, of everything that is stored, whatever the head says. */
  readEvents(): AsyncIterable<readonly StoredEvent[]>
  /** As AuditReader reads them, of what is stored in this view. */
  readSubtrees(level: number, from: number, to: number): Promise<readonly Uint8Array[]>
  /** The lowest index of that level at which a root is stored that is not one of the first so many, however far away. */
  findSubtreeBeyond(level: number, count: number): Promise<number | undefined>
  /** All checkpoints, ascending by size. */
  readCheckpoints(): Promise<readonly StoredCheckpoint[]>
  /** How many entries (a term in an event) the search index lacks, and holds too much, below its own head. */
  compareSearchIndex(): Promise<{ readonly missing: number; readonly surplus: number }>
}

export interface AuditReader extends HandOverReader {
  /** Runs the work in one read-only snapshot, however long it takes. @throws `store_unavailable` */
  snapshot<T>(work: (view: AuditView) => Promise<T>): Promise<T>
  readHead(): Promise<AuditHead>
  readEvent(sequence: number): Promise<StoredEvent | undefined>
  /** Rows that are missing are left out: whoever needs all of a range counts them. So also of subtrees. */
  readLeafHashes(from: number, to: number): Promise<readonly Uint8Array[]>
  /**
   * Roots of full subtrees of 2^level leaves; `level` is one of subtreeLevels, and `from`, `to` count subtrees of that level.
   */
  readSubtrees(level: number, from: number, to: number): Promise<readonly Uint8Array[]>
  /**
   * Stored checkpoints, largest first; of a note that is longer than any of ours, nothing.
   *
   * @param options.below only those of smaller trees
   */
  listCheckpoints(options: {
    readonly below?: number | undefined
    readonly limit: number
  }): Promise<readonly StoredCheckpoint[]>
  checkpointAt(treeSize: number): Promise<StoredCheckpoint | undefined>
}

export interface CheckpointStore {
  /** Keeps a checkpoint; one of that size that is there already stays. @throws `store_unavailable` */
  insertCheckpoint(checkpoint: StoredCheckpoint): Promise<void>
}

/** Keeps checkpoints where the database's administrators cannot rewrite them. */
export interface CheckpointSink {
  /** @throws `checkpoint_unavailable` */
  publish(checkpoint: StoredCheckpoint): Promise<void>
  /** Puts a hand-over beside them; one that is there already stays. @throws `checkpoint_unavailable`, `audit_invalid` */
  publishHandOver?(handOver: StoredCheckpoint): Promise<void>
}

/** Reads back what a CheckpointSink has kept. Nothing that is read is believed. */
export interface PublishedCheckpoints {
  /**
   * @param from a size; smaller ones are not looked for
   * @returns the largest that is published, under the size that its name says
   * @throws `checkpoint_unavailable`
   */
  findNewest(from: number): Promise<StoredCheckpoint | undefined>
}

/** All that was published: a log of any size is compared with the largest checkpoint that it reaches. */
export interface CheckpointArchive extends PublishedCheckpoints {
  /** @returns the largest that is published of that size or a smaller one @throws `checkpoint_unavailable` */
  findAtMost(treeSize: number): Promise<StoredCheckpoint | undefined>
}

export interface AuditSearch {
  /**
   * Brings the index up to date in bounded steps, so that the next search has less to do.
   *
   * @param signal ends it after the step under way
   * @throws `store_unavailable`
   */
  indexEvents(signal?: AbortSignal): Promise<void>
  /**
   * The newest events that may meet the criteria, newest first; all that do are among them, and few others. One bounded step: brings
   * the index up to date first, as far as that takes not long.
   *
   * @param options.before only events of a smaller sequence
   * @param options.limit how many events at most
   * @returns also `next`: events from there on have been looked at; absent when all have
   * @throws `store_unavailable`
   */
  findCandidates(
    criteria: Criteria,
    options: { readonly before?: number | undefined; readonly limit: number },
  ): Promise<{ readonly events: readonly StoredEvent[]; readonly next?: number | undefined }>
}
