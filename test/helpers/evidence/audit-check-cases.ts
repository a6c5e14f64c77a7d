import { createHash } from 'node:crypto'
import { TokenvaultError } from '../../../src/errors.ts'
import { formatCheckpoint, signCheckpoint } from '../../../src/tlog/checkpoint.ts'
import { signHandOver } from '../../../src/tlog/hand-over.ts'
import { foldRoots } from '../../../src/tlog/merkle.ts'
import { createNoteSigner, createNoteVerifier, formatNote, type NoteSigner } from '../../../src/tlog/signed-note.ts'
import type { AuditView } from '../../../src/vault/evidence/ports.ts'
import type { ExternalCheckpoint } from '../../../src/vault/evidence/verify/expected-roots.ts'
import type { AuditFinding } from '../../../src/vault/evidence/verify/findings.ts'
import { checkpointOf } from './audit-mutations.ts'
import { type AuditTables, buildAuditTables, memoryEvent, rebuildTree, viewOf } from './memory-audit-log.ts'

const signer = createNoteSigner('tokenvault/test', Buffer.alloc(32, 1))
const stranger = createNoteSigner('tokenvault/test', Buffer.alloc(32, 2))
const events = Array.from({ length: 600 }, (_, sequence) => memoryEvent(sequence))

export const caseVerifier = createNoteVerifier(signer.verifierKey)

/** What is wrong with a log in one way only, and the findings that it must give: exactly these. */
export interface CheckCase {
  readonly title: string
  readonly view: AuditView
  readonly external?: readonly ExternalCheckpoint[]
  readonly findings: readonly AuditFinding[]
}

function logOf(size: number, checkpointSizes: readonly number[] = []): AuditTables {
  return buildAuditTables(events.slice(0, size), { signer, checkpointSizes })
}

/** A search index that was not brought forward yet, and so says nothing. */
function withoutIndex(log: AuditTables): void {
  log.tokens.clear()
  log.tokensHead = 0
}

/** A root that no tree has. */
const wrongRoot = createHash('sha256').update('wrong').digest()

function altered(
  title: string,
  findings: readonly AuditFinding[],
  tables: AuditTables,
  change: (tables: AuditTables) => void,
) {
  change(tables)
  return { title, findings, view: viewOf(tables) }
}

/** A stored checkpoint of 40 in a log of 60, replaced by another note. */
function checkpointCase(
  title: string,
  note: string,
  finding: Partial<AuditFinding> & Pick<AuditFinding, 'code'>,
): CheckCase {
  const findings = [{ source: 'database', treeSize: 40, ...finding }]
  return altered(title, findings, logOf(60, [20, 40, 60]), ({ checkpoints }) => {
    checkpoints[1] = { treeSize: 40, note }
  })
}

/** What goes wrong where the signing key was handed over at a size of 30. */
function handOverCases(): CheckCase[] {
  const successor = createNoteSigner('tokenvault/test', Buffer.alloc(32, 3))
  const rootAt = (size: number) => foldRoots(logOf(size).head.subtreeRoots)
  const over = (from: NoteSigner, root: Uint8Array) => ({
    keyVersion: 2,
    treeSize: 30,
    note: signHandOver(
      { from, to: successor },
      { treeSize: 30, root, at: '2026-03-01T00:00:00.000Z', reason: 'routine' },
    ),
  })
  const note = (by: NoteSigner, size: number) => ({
    treeSize: size,
    note: signCheckpoint(by, { treeSize: size, root: rootAt(size) }),
  })
  const handedOver = (title: string, findings: readonly AuditFinding[], change: (tables: AuditTables) => void) =>
    altered(title, findings, logOf(60), log => {
      log.handOvers = [over(signer, rootAt(30))]
      log.checkpoints = [note(signer, 20), note(signer, 30), note(successor, 40)]
      change(log)
    })
  const source = 'database'
  return [
    handedOver('nothing, with a hand-over', [], () => {}),
    handedOver('an old key', [{ code: 'checkpoint_key_wrong', source, treeSize: 40 }], log => {
      log.checkpoints[2] = note(signer, 40)
    }),
    handedOver('a new key', [{ code: 'checkpoint_key_wrong', source, treeSize: 30 }], log => {
      log.checkpoints[1] = note(successor, 30)
    }),
    handedOver('a key of nobody', [{ code: 'checkpoint_signature_wrong', source, treeSize: 40 }], log => {
      log.checkpoints[2] = note(stranger, 40)
    }),
    handedOver(
      'another tree at the hand-over',
      [{ code: 'checkpoint_mismatch', from: 0, to: 30, treeSize: 30, source: 'hand-over', count: 1 }],
      log => {
        log.handOvers = [over(signer, wrongRoot)]
        log.checkpoints = [note(successor, 40)]
      },
    ),
    handedOver(
      'a hand-over of nobody',
      [
        {
          code: 'hand_over_invalid',
          source,
          count: 1,
          detail: 'a hand-over is not linked to the keys that are known',
        },
      ],
      log => {
        log.handOvers = [over(stranger, rootAt(30))]
        log.checkpoints.pop()
      },
    ),
  ]
}

/** For every check that the verifier makes, what only that check finds. */
export function checkCases(): CheckCase[] {
  const kept = { source: 'kept', note: checkpointOf(logOf(60), signer) }
  const wrongTree = signCheckpoint(signer, { treeSize: 40, root: wrongRoot })
  const foreignText = formatCheckpoint({ logName: 'tokenvault/other', treeSize: 40, root: wrongRoot })
  const subtree = (from: number, to: number, count: number) => ({
    code: 'subtrees_wrong' as const,
    from: from * 256,
    to: to * 256,
    count,
    detail: 'subtrees of 256 events',
  })
  return [
    ...handOverCases(),
    altered('a leaf hash', [{ code: 'leaf_hash_wrong', from: 7, to: 8, count: 1 }], logOf(60), log => {
      log.events[7] = { ...log.events[7]!, leafHash: wrongRoot }
    }),
    altered('neighbouring leaf hashes', [{ code: 'leaf_hash_wrong', from: 7, to: 9, count: 2 }], logOf(60), log => {
      for (const place of [7, 8]) log.events[place] = { ...log.events[place]!, leafHash: wrongRoot }
    }),
    altered('the first leaf hash', [{ code: 'leaf_hash_wrong', from: 0, to: 1, count: 1 }], logOf(60), log => {
      log.events[0] = { ...log.events[0]!, leafHash: wrongRoot }
    }),
    altered('an event taken out', [{ code: 'events_missing', from: 7, to: 8, count: 1 }], logOf(60), log => {
      log.events.splice(7, 1)
    }),
    altered(
      'two gaps',
      [
        { code: 'events_missing', from: 7, to: 9, count: 2 },
        { code: 'events_missing', from: 50, to: 51, count: 1 },
      ],
      logOf(60),
      log => {
        withoutIndex(log)
        log.events.splice(50, 1)
        log.events.splice(7, 2)
      },
    ),
    altered('the first event', [{ code: 'events_missing', from: 0, to: 1, count: 1 }], logOf(60), log => {
      withoutIndex(log)
      log.events.shift()
    }),
    altered('the last event', [{ code: 'events_missing', from: 59, to: 60, count: 1 }], logOf(60), log => {
      log.events.pop()
    }),
    altered('all events', [{ code: 'events_missing', from: 0, to: 60, count: 60 }], logOf(60), log => {
      withoutIndex(log)
      log.events = []
    }),
    altered('an event twice', [{ code: 'events_repeated', from: 7, to: 8, count: 1 }], logOf(60), log => {
      log.events.splice(7, 0, log.events[7]!)
    }),
    altered('an event before the first', [{ code: 'events_repeated', from: -1, to: 0, count: 1 }], logOf(60), log => {
      withoutIndex(log)
      log.events.unshift({ ...log.events[1]!, sequence: -1 })
    }),
    altered('an event behind the last', [{ code: 'events_surplus', from: 60, to: 61, count: 1 }], logOf(60), log => {
      log.events.push({ ...log.events[0]!, sequence: 60 })
    }),
    altered('a head that was set back', [{ code: 'events_surplus', from: 50, to: 60, count: 10 }], logOf(60), log => {
      log.head = logOf(50).head
    }),
    altered('subtree roots of the head', [{ code: 'head_wrong', from: 0, to: 60 }], logOf(60), log => {
      log.head.subtreeRoots[1] = wrongRoot
    }),
    altered('a head with a root too many', [{ code: 'head_wrong', from: 0, to: 60 }], logOf(60), log => {
      log.head.subtreeRoots.push(wrongRoot)
    }),
    altered('a head with a root too few', [{ code: 'head_wrong', from: 0, to: 60 }], logOf(60), log => {
      log.head.subtreeRoots.pop()
    }),
    altered('the head of an empty log', [{ code: 'head_wrong', from: 0, to: 0 }], logOf(0), log => {
      log.head.subtreeRoots.push(wrongRoot)
    }),
    altered('a head of a size that no tree has', [{ code: 'head_wrong' }], logOf(0), log => {
      log.head.treeSize = -1
    }),
    altered(
      'an event behind the last that completes a subtree',
      [{ code: 'events_surplus', from: 511, to: 512, count: 1 }],
      logOf(512),
      log => {
        const { head, subtrees } = logOf(511)
        Object.assign(log, { head, subtrees })
      },
    ),
    altered(
      'an event that stands again later',
      [{ code: 'events_repeated', from: 3, to: 4, count: 1 }],
      logOf(60),
      log => {
        log.events.splice(8, 0, log.events[3]!)
      },
    ),
    altered('a subtree root', [subtree(1, 2, 1)], logOf(600), log => {
      log.subtrees.get(8)![1] = wrongRoot
    }),
    altered('a subtree root that is gone', [subtree(0, 2, 2)], logOf(600), log => {
      log.subtrees.get(8)!.shift()
    }),
    altered('a subtree root too many', [subtree(2, 3, 1)], logOf(600), log => {
      log.subtrees.get(8)!.push(wrongRoot)
    }),
    altered('a subtree root far beyond the end', [subtree(1000, 1001, 1)], logOf(600), log => {
      log.subtrees.get(8)![1000] = wrongRoot
    }),
    altered(
      'a subtree root of a higher level',
      [{ code: 'subtrees_wrong', from: 0, to: 65_536, count: 1, detail: 'subtrees of 65536 events' }],
      logOf(600),
      log => {
        log.subtrees.get(16)!.push(wrongRoot)
      },
    ),
    checkpointCase('a checkpoint that is none', 'no note', {
      code: 'checkpoint_invalid',
      detail: 'it is not a checkpoint',
    }),
    checkpointCase('a checkpoint of another size', signCheckpoint(signer, { treeSize: 20, root: wrongRoot }), {
      code: 'checkpoint_invalid',
      detail: 'it is of size 20',
    }),
    checkpointCase(
      'a checkpoint of another log',
      formatNote(foreignText, [{ name: signer.name, signature: signer.sign(foreignText) }]),
      {
        code: 'checkpoint_invalid',
        detail: 'it is of another log',
      },
    ),
    checkpointCase('a checkpoint of another key', checkpointOf(logOf(40), stranger), {
      code: 'checkpoint_signature_wrong',
    }),
    checkpointCase(
      'a checkpoint that was changed',
      checkpointOf(logOf(40), signer).replace(/\n[^\n]*\n\n/, `\n${wrongRoot.toString('base64')}\n\n`),
      {
        code: 'checkpoint_signature_wrong',
      },
    ),
    checkpointCase('a checkpoint of another tree', wrongTree, {
      code: 'checkpoint_mismatch',
      from: 20,
      to: 40,
      count: 1,
    }),
    altered(
      'checkpoints of another tree',
      [{ code: 'checkpoint_mismatch', from: 0, to: 20, treeSize: 20, source: 'database', count: 2 }],
      logOf(60, [20, 40, 60]),
      ({ checkpoints }) => {
        checkpoints[0] = { treeSize: 20, note: signCheckpoint(signer, { treeSize: 20, root: wrongRoot }) }
        checkpoints[1] = { treeSize: 40, note: wrongTree }
      },
    ),
    altered(
      'checkpoints of another tree before and after a true one',
      [20, 60].map(size => ({
        code: 'checkpoint_mismatch' as const,
        from: size === 20 ? 0 : 40,
        to: size,
        treeSize: size,
        source: 'database',
        count: 1,
      })),
      logOf(60, [20, 40, 60]),
      ({ checkpoints }) => {
        for (const place of [0, 2]) {
          const { treeSize } = checkpoints[place]!
          checkpoints[place] = { treeSize, note: signCheckpoint(signer, { treeSize, root: wrongRoot }) }
        }
      },
    ),
    {
      ...altered('kept checkpoints that are given in any order', [], logOf(60, [50]), () => {}),
      external: [60, 40, 20].map(size => ({ source: `kept ${size}`, note: checkpointOf(logOf(size), signer) })),
    },
    altered(
      'a checkpoint of nothing',
      [{ code: 'checkpoint_mismatch', from: 0, to: 0, treeSize: 0, source: 'database', count: 1 }],
      logOf(60, [60]),
      ({ checkpoints }) => {
        checkpoints.unshift({ treeSize: 0, note: signCheckpoint(signer, { treeSize: 0, root: wrongRoot }) })
      },
    ),
    {
      ...altered(
        'an event edited, and all that follows from it made anew',
        [{ code: 'checkpoint_mismatch', from: 0, to: 60, treeSize: 60, source: 'kept', count: 1 }],
        logOf(60),
        log => {
          log.events[7] = { ...log.events[7]!, event: memoryEvent(999) }
          rebuildTree(log)
        },
      ),
      external: [kept],
    },
    {
      ...altered(
        'a tail cut, and all that follows from it made anew',
        [{ code: 'checkpoint_unreached', from: 59, to: 60, treeSize: 60, source: 'kept', count: 1 }],
        logOf(59),
        () => {},
      ),
      external: [kept],
    },
    altered(
      'a log set back behind its own checkpoints',
      [{ code: 'checkpoint_unreached', from: 30, to: 40, treeSize: 40, source: 'database', count: 2 }],
      logOf(60, [20, 40, 60]),
      log => {
        log.events.splice(30)
        rebuildTree(log)
      },
    ),
    {
      ...altered(
        'a kept file that is no checkpoint',
        [{ code: 'checkpoint_invalid', source: 'kept', detail: 'it is not a checkpoint' }],
        logOf(60),
        () => {},
      ),
      external: [{ source: 'kept', note: 'no note' }],
    },
    altered(
      'an entry of the search index taken out',
      [{ code: 'search_index_wrong', count: 1, detail: '1 entries missing, 0 too many' }],
      logOf(60),
      ({ tokens }) => {
        tokens.delete([...tokens][3]!)
      },
    ),
    altered(
      'an entry of the search index too many',
      [{ code: 'search_index_wrong', count: 1, detail: '0 entries missing, 1 too many' }],
      logOf(60),
      ({ tokens }) => {
        tokens.add('digest-of-somebody@7')
      },
    ),
    {
      title: 'a search index that cannot be read',
      findings: [{ code: 'search_index_wrong', detail: 'an event cannot be read as text' }],
      view: { ...viewOf(logOf(3)), compareSearchIndex: () => Promise.reject(new TokenvaultError('store_refused')) },
    },
  ]
}
