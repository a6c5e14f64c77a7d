import { signCheckpoint } from '../../../src/tlog/checkpoint.ts'
import { foldRoots } from '../../../src/tlog/merkle.ts'
import { createNoteSigner } from '../../../src/tlog/signed-note.ts'
import type { StoredEvent } from '../../../src/vault/evidence/ports.ts'
import { type AuditTables, leafHash, memoryEvent, rebuildTree } from './memory-audit-log.ts'

/** Seeded choices (mulberry32), so that a failure can be had again. */
export interface Choices {
  below(limit: number): number
  of<T>(values: readonly T[]): T
}

export function createChoices(seed: number): Choices {
  let state = seed >>> 0
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0
    let z = state
    z = Math.imul(z ^ (z >>> 15), z | 1)
    z ^= z + Math.imul(z ^ (z >>> 7), z | 61)
    return ((z ^ (z >>> 14)) >>> 0) / 2 ** 32
  }
  const below = (limit: number) => Math.floor(next() * limit)
  return { below, of: values => values[below(values.length)]! }
}

/** Something that is done to the events; every one of them changes what the log says. */
const eventMutations: Readonly<Record<string, (events: StoredEvent[], choices: Choices) => StoredEvent[]>> = {
  edit: (events, choices) => {
    const place = choices.below(events.length)
    const { event } = events[place]!
    const bytes = Buffer.from(event)
    const edited = choices.of([
      () => {
        const at = choices.below(bytes.length)
        bytes[at] = bytes[at]! ^ (1 << choices.below(8))
        return bytes
      },
      () => Buffer.from(bytes.toString().replace(/"subject":"[^"]*"/, '"subject":"somebody-else"')),
      () => Buffer.concat([bytes, Buffer.from(' ')]),
      () => bytes.subarray(0, choices.below(bytes.length)),
      () => memoryEvent(100_000 + choices.below(1000)),
    ])()
    return events.with(place, { ...events[place]!, event: edited })
  },
  delete: (events, choices) => {
    const place = choices.below(events.length)
    const count = 1 + choices.below(Math.min(5, events.length - place))
    return events.toSpliced(place, count)
  },
  reorder: (events, choices) => {
    const place = choices.below(events.length - 1)
    const other = place + 1 + choices.below(events.length - place - 1)
    const [a, b] = [events[place]!, events[other]!]
    // Sequences stay where they are; what stands at them moves.
    return events
      .with(place, { ...a, event: b.event, leafHash: b.leafHash })
      .with(other, { ...b, event: a.event, leafHash: a.leafHash })
  },
  insert: (events, choices) => {
    // Never behind the last one: what is appended after a checkpoint contradicts none.
    const place = choices.below(events.length)
    const event = choices.of([() => memoryEvent(200_000), () => Buffer.from(choices.of(events).event)])()
    return events.toSpliced(place, 0, { sequence: place, event, leafHash: leafHash(event) })
  },
  cut: (events, choices) => events.slice(0, choices.below(events.length)),
}

/** How far somebody who owns the database goes to hide it. */
const coverUps: Readonly<Record<string, (tables: AuditTables, original: AuditTables) => void>> = {
  none: () => {},
  'sequences made gapless': renumber,
  'leaf hashes made anew': tables => {
    tables.events = tables.events.map(event => ({ ...event, leafHash: leafHash(event.event) }))
  },
  'everything made anew but checkpoints': tables => {
    renumber(tables)
    rebuildTree(tables)
  },
  'everything made anew, checkpoints removed': tables => {
    renumber(tables)
    rebuildTree(tables)
    tables.checkpoints = []
  },
  'everything made anew, checkpoints that do not fit removed': (tables, original) => {
    renumber(tables)
    rebuildTree(tables)
    const first = firstDifference(tables.events, original.events)
    tables.checkpoints = tables.checkpoints.filter(({ treeSize }) => treeSize <= first)
  },
  'everything made anew, checkpoints signed by another key': tables => {
    renumber(tables)
    const forger = createNoteSigner('tokenvault/test', Buffer.alloc(32, 66))
    rebuildTree(
      tables,
      forger,
      tables.checkpoints.map(({ treeSize }) => Math.min(treeSize, tables.events.length)),
    )
  },
  'everything made anew, checkpoints with old signatures': tables => {
    renumber(tables)
    rebuildTree(tables)
    const root = Buffer.from(foldRoots(tables.head.subtreeRoots)).toString('base64')
    tables.checkpoints = tables.checkpoints.map(({ treeSize, note }) => {
      const lines = note.split('\n')
      return { treeSize, note: [lines[0], lines[1], root, ...lines.slice(3)].join('\n') }
    })
  },
}

function renumber(tables: AuditTables): void {
  tables.events = tables.events.map((event, sequence) => ({ ...event, sequence }))
}

/** The first sequence at which two logs say different things. */
export function firstDifference(a: readonly StoredEvent[], b: readonly StoredEvent[]): number {
  const first = a.findIndex((event, place) => Buffer.compare(event.event, b[place]?.event ?? Buffer.alloc(0)) !== 0)
  return first < 0 ? a.length : first
}

export interface Mutated {
  readonly title: string
  readonly tables: AuditTables
}

/** One random edit, deletion, reordering, insertion or cut tail, hidden to a random degree. */
export function mutateAuditTables(original: AuditTables, choices: Choices): Mutated {
  const kind = choices.of(Object.keys(eventMutations))
  const coverUp = choices.of(Object.keys(coverUps))
  const tables = copyTables(original)
  // Drawn again where the log still begins with all it said: nothing changed, or the last event came twice, and a log
  // that only grew contradicts no checkpoint.
  do tables.events = eventMutations[kind]!([...original.events], choices)
  while (firstDifference(original.events, tables.events) === original.events.length)
  coverUps[coverUp]!(tables, original)
  return { title: `${kind}, ${coverUp}`, tables }
}

/** Every kind with every way to hide it, once each. */
export function allMutations(): { kind: string; coverUp: string }[] {
  return Object.keys(eventMutations).flatMap(kind => Object.keys(coverUps).map(coverUp => ({ kind, coverUp })))
}

export function copyTables(tables: AuditTables): AuditTables {
  return {
    events: [...tables.events],
    head: { ...tables.head },
    subtrees: new Map([...tables.subtrees].map(([level, roots]) => [level, [...roots]])),
    checkpoints: [...tables.checkpoints],
    tokens: new Set(tables.tokens),
    tokensHead: tables.tokensHead,
  }
}

/** A checkpoint of the tables as they are. */
export function checkpointOf(tables: AuditTables, signer: ReturnType<typeof createNoteSigner>): string {
  const { treeSize, subtreeRoots } = tables.head
  return signCheckpoint(signer, { treeSize, root: foldRoots(subtreeRoots) })
}
