import { isUtf8 } from 'node:buffer'
import { TokenvaultError } from '../../errors.ts'
import { type Checkpoint, openCheckpoint, readUnverifiedCheckpoint } from '../../tlog/checkpoint.ts'
import type { LogKeys } from '../../tlog/key-history.ts'
import {
  consistencyRanges,
  Frontier,
  foldRoots,
  inclusionRanges,
  type LeafRange,
  leafHash,
  type Subtree,
  subtreeLevels,
  subtreesOf,
  verifyConsistency,
  verifyInclusion,
} from '../../tlog/merkle.ts'
import type { ConsistencyProof, InclusionProof } from '../../tlog/proof.ts'
import type { AuditReader, StoredCheckpoint } from './ports.ts'

/** Proofs from what is stored. Each is checked before it is given: a log that was altered proves nothing. */
export interface Prover {
  /**
   * @param treeSize of the checkpoint to prove it by; the newest without it
   * @throws TokenvaultError `audit_event_unknown` where no such checkpoint is stored, or it does not cover the event;
   *   `audit_invalid` where what is stored does not match it; `store_unavailable`
   */
  proveInclusion(sequence: number, treeSize?: number): Promise<InclusionProof>
  /**
   * @param from size of the smaller tree, of which a checkpoint is stored
   * @param to size of the larger; that of the newest checkpoint without it
   * @throws TokenvaultError as proveInclusion
   */
  proveConsistency(from: number, to?: number): Promise<ConsistencyProof>
}

/** Hashes of one level that stand under one root of the next. */
const runHashes = 2 ** subtreeLevels[0]!

/**
 * @param keys of the log, or what reads them anew for each proof; without them, checkpoints are taken as they are stored, and whoever
 *   checks the proof finds out
 */
export function createProver(reader: AuditReader, keys?: LogKeys | (() => Promise<LogKeys>)): Prover {
  const readKeys = async () => (typeof keys === 'function' ? keys() : keys)
  const newest = async () => {
    const known = await readKeys()
    return known === undefined ? (await reader.listCheckpoints({ limit: 1 }))[0] : findNewest(reader, known)
  }

  async function findCheckpoint(treeSize: number | undefined) {
    const stored = await (treeSize === undefined ? newest() : reader.checkpointAt(treeSize))
    if (stored === undefined) throw new TokenvaultError('audit_event_unknown')
    return { note: stored.note, tree: openStored(stored, await readKeys()) }
  }

  return {
    async proveInclusion(sequence, treeSize) {
      const { note, tree } = await findCheckpoint(treeSize)
      if (sequence >= tree.treeSize) throw new TokenvaultError('audit_event_unknown')
      const stored = await reader.readEvent(sequence)
      if (stored === undefined) throw new TokenvaultError('audit_invalid', 'an event below a checkpoint is missing')
      const path = await readPath(reader, inclusionRanges(sequence, tree.treeSize))
      const leaf = leafHash(stored.event)
      if (!verifyInclusion({ index: sequence, size: tree.treeSize, leafHash: leaf, path, root: tree.root }))
        throw mismatch()
      // An event that is not text was not made here; its hash proves it all the same.
      const event = isUtf8(stored.event) ? { event: Buffer.from(stored.event).toString('utf8') } : {}
      return { sequence, ...event, leafHash: toBase64(leaf), path: path.map(toBase64), checkpoint: note }
    },

    async proveConsistency(from, to) {
      const first = await findCheckpoint(from)
      const second = await findCheckpoint(to)
      const [small, large] = [first.tree, second.tree]
      if (small.treeSize > large.treeSize) throw new TokenvaultError('audit_event_unknown')
      const path = await readConsistencyPath(reader, small.treeSize, large.treeSize)
      const sizes = { first: small.treeSize, second: large.treeSize }
      if (!verifyConsistency({ ...sizes, firstRoot: small.root, secondRoot: large.root, path })) throw mismatch()
      return { from: first.note, to: second.note, path: path.map(toBase64) }
    },
  }
}

/**
 * Proof that a tree has grown out of a smaller one (RFC 9162, 2.1.4.1), not yet checked.
 *
 * @throws TokenvaultError `audit_invalid` where hashes of the tree are missing; `store_unavailable`
 */
export function readConsistencyPath(reader: AuditReader, first: number, second: number): Promise<Uint8Array[]> {
  return readPath(reader, first === 0 ? [] : consistencyRanges(first, second))
}

function openStored({ note, treeSize }: StoredCheckpoint, keys: LogKeys | undefined): Checkpoint {
  let checkpoint: Checkpoint
  try {
    checkpoint = keys === undefined ? readUnverifiedCheckpoint(note) : openCheckpoint(note, keys, { isProven: true })
  } catch (cause) {
    throw new TokenvaultError('audit_invalid', 'a stored checkpoint is not one of this log', { cause })
  }
  if (checkpoint.treeSize !== treeSize) throw mismatch()
  return checkpoint
}

/** The node over each range. Of every level that is stored it reads one run, or two, of at most 256 hashes each. */
async function readPath(reader: AuditReader, ranges: readonly LeafRange[]): Promise<Uint8Array[]> {
  const parts = ranges.map(subtreesOf)
  const runs = new Map<string, { level: number; from: number; to: number }>()
  for (const subtree of parts.flat()) {
    const { level, from, to } = storedUnder(subtree)
    const name = runName(level, from)
    const run = runs.get(name) ?? { level, from, to }
    runs.set(name, { level, from: Math.min(run.from, from), to: Math.max(run.to, to) })
  }
  const hashes = new Map<string, { from: number; roots: readonly Uint8Array[] }>()
  for (const [name, { level, from, to }] of runs) {
    const roots = await (level === 0 ? reader.readLeafHashes(from, to) : reader.readSubtrees(level, from, to))
    if (roots.length !== to - from) throw new TokenvaultError('audit_invalid', 'hashes of the tree are missing')
    hashes.set(name, { from, roots })
  }
  const rootOf = (subtree: Subtree) => {
    const { level, from, to } = storedUnder(subtree)
    const run = hashes.get(runName(level, from))!
    const frontier = new Frontier()
    for (const root of run.roots.slice(from - run.from, to - run.from)) frontier.append(root)
    return frontier.root()
  }
  return parts.map(subtrees => foldRoots(subtrees.map(rootOf)))
}

/** The stored hashes that a subtree is made of: subtrees of a level of subtreeLevels, or leaves, `from` ≤ index < `to`. */
function storedUnder({ level, index }: Subtree): { level: number; from: number; to: number } {
  const stored = subtreeLevels.findLast(each => each <= level) ?? 0
  const count = 2 ** (level - stored)
  return { level: stored, from: index * count, to: (index + 1) * count }
}

function runName(level: number, index: number): string {
  return `${level}/${Math.floor(index / runHashes)}`
}

function mismatch(): TokenvaultError {
  return new TokenvaultError('audit_invalid', 'what is stored does not match the checkpoint')
}

function toBase64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64')
}

/** What is stored from a size on, or from the newest checkpoint on that this vault signed. */
export interface StoredCheckpoints {
  /** Signed by this vault for the size that they are stored under, largest first. */
  readonly placed: readonly { readonly stored: StoredCheckpoint; readonly checkpoint: Checkpoint }[]
  /** The largest that this vault signed, and that is stored under another size than its own. */
  readonly strayed: Checkpoint | undefined
  /** How many are neither, or strayed, and the size that the largest of them is stored under. */
  readonly invalid: number
  readonly largestInvalid: number | undefined
}

const pageCheckpoints = 100

/** @param from a size; without one, the newest checkpoint that this vault signed is the last that is read */
export async function readStoredCheckpoints(
  reader: Pick<AuditReader, 'listCheckpoints'>,
  keys: LogKeys,
  from: number | undefined,
): Promise<StoredCheckpoints> {
  const placed: { stored: StoredCheckpoint; checkpoint: Checkpoint }[] = []
  let strayed: Checkpoint | undefined
  let invalid = 0
  let largestInvalid: number | undefined
  for await (const stored of largestFirst(reader)) {
    const isEnough = from === undefined ? placed.length > 0 : stored.treeSize < from
    if (isEnough) break
    const checkpoint = openSigned(stored.note, keys)
    if (checkpoint?.treeSize === stored.treeSize) {
      placed.push({ stored, checkpoint })
      continue
    }
    invalid++
    largestInvalid ??= stored.treeSize
    if (checkpoint !== undefined && checkpoint.treeSize > (strayed?.treeSize ?? -1)) strayed = checkpoint
  }
  return { placed, strayed, invalid, largestInvalid }
}

/** @returns the newest checkpoint that this vault signed for the size it is stored under, whatever is stored beside it */
export async function findNewest(
  reader: Pick<AuditReader, 'listCheckpoints'>,
  keys: LogKeys,
): Promise<StoredCheckpoint | undefined> {
  const { placed } = await readStoredCheckpoints(reader, keys, undefined)
  return placed[0]?.stored
}

async function* largestFirst(reader: Pick<AuditReader, 'listCheckpoints'>): AsyncGenerator<StoredCheckpoint> {
  let below: number | undefined
  while (true) {
    const page = await reader.listCheckpoints({ below, limit: pageCheckpoints })
    yield* page
    below = page.at(-1)?.treeSize
    if (below === undefined) return
  }
}

function openSigned(note: string, keys: LogKeys): Checkpoint | undefined {
  try {
    return openCheckpoint(note, keys, { isProven: true })
  } catch (error) {
    if (error instanceof TokenvaultError && error.code === 'checkpoint_invalid') return undefined
    throw error
  }
}
