import { signCheckpoint } from '../../../src/tlog/checkpoint.ts'
import { Frontier, leafHash as hashLeaf, subtreeLevels } from '../../../src/tlog/merkle.ts'
import type { NoteSigner } from '../../../src/tlog/signed-note.ts'
import type { StoredHandOver } from '../../../src/vault/admission/ports.ts'
import type { AuditReader, AuditView, StoredCheckpoint, StoredEvent } from '../../../src/vault/evidence/ports.ts'

/** What the tables of the audit log hold, in memory. Everything may be changed, as an owner of the database may. */
export interface AuditTables {
  events: StoredEvent[]
  head: { treeSize: number; subtreeRoots: Uint8Array[] }
  /** Roots by level, in order of index. */
  subtrees: Map<number, Uint8Array[]>
  checkpoints: StoredCheckpoint[]
  handOvers?: StoredHandOver[]
  /** (digest, sequence) pairs of the search index, as `digest@sequence`, and how far it was brought. */
  tokens: Set<string>
  tokensHead: number
}

/** One event of a log for tests; no two are alike. */
export function memoryEvent(sequence: number): Buffer {
  const tokens = Array.from(
    { length: sequence % 4 === 0 ? 2 : 0 },
    (_, n) => `digest-${String((sequence * 7 + n) % 40).padStart(15, '0')}`,
  )
  return Buffer.from(JSON.stringify({ type: 'detokenize', subject: `s-${sequence}`, tokens }))
}

/** A log of the events, as append_audit would leave it, with a checkpoint of each of the sizes. */
export function buildAuditTables(
  events: readonly Uint8Array[],
  options: { readonly signer?: NoteSigner; readonly checkpointSizes?: readonly number[] } = {},
): AuditTables {
  const { signer, checkpointSizes = [] } = options
  const tables: AuditTables = {
    events: events.map((event, sequence) => ({ sequence, event, leafHash: leafHash(event) })),
    head: { treeSize: 0, subtreeRoots: [] },
    subtrees: new Map(),
    checkpoints: [],
    tokens: new Set(),
    tokensHead: 0,
  }
  rebuildTree(tables, signer, checkpointSizes)
  return tables
}

/**
 * Makes everything that follows from the stored events anew: what somebody who owns the database can do to hide a change
 * of these. Without a signer the checkpoints are left as they are.
 */
export function rebuildTree(tables: AuditTables, signer?: NoteSigner, checkpointSizes: readonly number[] = []): void {
  const frontier = new Frontier()
  const sizes = new Set(checkpointSizes)
  const checkpoints: StoredCheckpoint[] = []
  const keep = () => {
    if (signer === undefined || !sizes.has(frontier.size)) return
    const tree = { treeSize: frontier.size, root: frontier.root() }
    checkpoints.push({ treeSize: tree.treeSize, note: signCheckpoint(signer, tree) })
  }
  tables.subtrees = new Map(subtreeLevels.map(level => [level, []]))
  tables.tokens = new Set()
  keep()
  tables.events = tables.events.map(({ sequence, event }) => {
    const leaf = leafHash(event)
    frontier.append(leaf, (level, root) => tables.subtrees.get(level)?.push(root))
    for (const digest of digestsOf(event)) tables.tokens.add(`${digest}@${sequence}`)
    keep()
    return { sequence, event, leafHash: leaf }
  })
  tables.head = { treeSize: frontier.size, subtreeRoots: [...frontier.subtreeRoots] }
  tables.tokensHead = frontier.size
  if (signer !== undefined) tables.checkpoints = checkpoints
}

const knownLeaves = new WeakMap<Uint8Array, Uint8Array>()

/** The leaf hash of an event whose bytes nobody changes in place; of most events it is asked ten thousand times. */
export function leafHash(event: Uint8Array): Uint8Array {
  const known = knownLeaves.get(event) ?? hashLeaf(event)
  knownLeaves.set(event, known)
  return known
}

const knownDigests = new WeakMap<Uint8Array, readonly string[]>()

function digestsOf(event: Uint8Array): readonly string[] {
  const known = knownDigests.get(event)
  if (known !== undefined) return known
  const digests = parseDigests(event)
  knownDigests.set(event, digests)
  return digests
}

function parseDigests(event: Uint8Array): readonly string[] {
  try {
    return JSON.parse(Buffer.from(event).toString()).tokens ?? []
  } catch {
    return []
  }
}

/** @param pageSize events a page */
export function viewOf(tables: AuditTables, pageSize = 64): AuditView {
  return {
    readHead: async () => tables.head,
    readHandOvers: async () => tables.handOvers ?? [],
    async *readEvents() {
      for (let from = 0; from < tables.events.length; from += pageSize) yield tables.events.slice(from, from + pageSize)
    },
    readSubtrees: async (level, from, to) => tables.subtrees.get(level)?.slice(from, to) ?? [],
    findSubtreeBeyond: async (level, count) => {
      const place = tables.subtrees.get(level)?.findIndex((root, index) => root !== undefined && index >= count) ?? -1
      return place === -1 ? undefined : place
    },
    readCheckpoints: async () => tables.checkpoints,
    compareSearchIndex: async () => {
      const below = (sequence: number) => sequence < tables.tokensHead
      const expected = new Set(
        tables.events
          .filter(({ sequence }) => below(sequence))
          .flatMap(({ sequence, event }) => digestsOf(event).map(digest => `${digest}@${sequence}`)),
      )
      const held = [...tables.tokens].filter(pair => below(Number(pair.split('@')[1])))
      return {
        missing: [...expected].filter(pair => !tables.tokens.has(pair)).length,
        surplus: held.filter(pair => !expected.has(pair)).length,
      }
    },
  }
}

/** A reader that also tells how many hashes each of its calls read. */
export function readerOf(tables: AuditTables): AuditReader & { readonly reads: { level: number; hashes: number }[] } {
  const reads: { level: number; hashes: number }[] = []
  const tell = (level: number, hashes: Uint8Array[]) => {
    reads.push({ level, hashes: hashes.length })
    return hashes
  }
  return {
    reads,
    snapshot: work => work(viewOf(tables)),
    readHead: async () => tables.head,
    readHandOvers: async () => tables.handOvers ?? [],
    readEvent: async sequence => tables.events.find(event => event.sequence === sequence),
    readLeafHashes: async (from, to) =>
      tell(
        0,
        tables.events.slice(from, to).map(event => event.leafHash),
      ),
    readSubtrees: async (level, from, to) => tell(level, tables.subtrees.get(level)?.slice(from, to) ?? []),
    listCheckpoints: async ({ below = Number.POSITIVE_INFINITY, limit }) =>
      tables.checkpoints
        .filter(({ treeSize }) => treeSize < below)
        .toSorted((a, b) => b.treeSize - a.treeSize)
        .slice(0, limit),
    checkpointAt: async treeSize => tables.checkpoints.find(checkpoint => checkpoint.treeSize === treeSize),
  }
}
