import { randomBytes } from 'node:crypto'
import t from 'tap'
import { signCheckpoint } from '../../../src/tlog/checkpoint.ts'
import { checkProof } from '../../../src/tlog/proof.ts'
import { createNoteSigner, createNoteVerifier } from '../../../src/tlog/signed-note.ts'
import { createProver } from '../../../src/vault/evidence/prove.ts'
import { buildAuditTables, memoryEvent, readerOf } from '../../helpers/evidence/memory-audit-log.ts'

const signer = createNoteSigner('tokenvault/test', randomBytes(32))
const verifier = createNoteVerifier(signer.verifierKey)
const eventsOf = (count: number) => Array.from({ length: count }, (_, sequence) => memoryEvent(sequence))
const logOf = (count: number, checkpointSizes = [count]) =>
  buildAuditTables(eventsOf(count), { signer, checkpointSizes })
const overTheWire = (value: object) => JSON.parse(JSON.stringify(value))

t.test('every event of every size up to 40 is proved by the checkpoint of that size', async t => {
  const sizes = Array.from({ length: 41 }, (_, size) => size)
  const prover = createProver(readerOf(logOf(40, sizes)), verifier)
  let proofs = 0
  for (const size of sizes.slice(1)) {
    for (let sequence = 0; sequence < size; sequence++, proofs++) {
      const proven = checkProof(overTheWire(await prover.proveInclusion(sequence, size)), verifier)
      if (proven.kind !== 'inclusion' || proven.sequence !== sequence || proven.checkpoint.treeSize !== size)
        t.fail(`event ${sequence} of ${size}`)
      else if (proven.event !== memoryEvent(sequence).toString()) t.fail(`text of event ${sequence}`)
    }
  }
  t.equal(proofs, 820)
  for (const from of sizes) {
    for (const to of sizes.slice(from)) {
      const proven = checkProof(overTheWire(await prover.proveConsistency(from, to)), verifier)
      if (proven.kind !== 'consistency' || proven.from.treeSize !== from || proven.to.treeSize !== to)
        t.fail(`${from} to ${to}`)
    }
  }
})

t.test('a proof in a large log reads at most two runs of 256 hashes a level', async t => {
  const count = 2 ** 16 + 3 * 2 ** 8 + 77
  const tables = logOf(count, [1, 255, 256, 257, 65_535, 65_536, 65_537, count])
  for (const sequence of [0, 1, 255, 256, 40_000, 65_535, 65_536, 66_000, count - 1]) {
    const reader = readerOf(tables)
    const proof = await createProver(reader, verifier).proveInclusion(sequence)
    t.match(checkProof(proof, verifier), { kind: 'inclusion', sequence })
    t.ok(
      [0, 8, 16].every(level => reader.reads.filter(read => read.level === level).length <= 2),
      `${JSON.stringify(reader.reads)}`,
    )
    t.ok(reader.reads.every(({ hashes }) => hashes <= 256))
  }
  for (const [from, to] of [
    [1, 65_537],
    [255, 257],
    [256, 65_536],
    [257, undefined],
    [65_535, 65_536],
    [65_537, undefined],
  ] as const) {
    const reader = readerOf(tables)
    const proof = await createProver(reader, verifier).proveConsistency(from, to)
    t.match(checkProof(proof, verifier), {
      kind: 'consistency',
      from: { treeSize: from },
      to: { treeSize: to ?? count },
    })
    t.ok(reader.reads.every(({ hashes }) => hashes <= 256))
  }
})

t.test('what no checkpoint covers is unknown, not proved', async t => {
  const unknown = { code: 'audit_event_unknown' }
  const tables = logOf(9, [0, 4, 7])
  const prover = createProver(readerOf(tables), verifier)
  await t.rejects(prover.proveInclusion(7), unknown, 'not yet covered')
  await t.rejects(prover.proveInclusion(4, 4), unknown, 'not covered by that one')
  await t.rejects(prover.proveInclusion(0, 0), unknown)
  await t.rejects(prover.proveInclusion(0, 5), unknown, 'no checkpoint of that size')
  await t.rejects(prover.proveConsistency(5), unknown)
  await t.rejects(prover.proveConsistency(4, 9), unknown)
  await t.rejects(prover.proveConsistency(7, 4), unknown, 'shrinking')
  await t.rejects(createProver(readerOf(logOf(3, [])), verifier).proveInclusion(0), unknown, 'no checkpoint at all')
})

t.test('a log that was altered proves nothing', async t => {
  const invalid = { code: 'audit_invalid' }
  const alter = (change: (tables: ReturnType<typeof logOf>) => void, count = 300) => {
    const tables = logOf(count, [200, count])
    change(tables)
    return createProver(readerOf(tables), verifier)
  }
  const event = (sequence: number) => ({ ...logOf(sequence + 1).events[sequence]!, event: Buffer.from('forged') })
  await t.rejects(alter(log => (log.events[7] = event(7))).proveInclusion(7), invalid, 'the event')
  const sibling = alter(log => (log.events[6] = { ...log.events[6]!, leafHash: randomBytes(32) }))
  await t.rejects(sibling.proveInclusion(7), invalid, 'its neighbour')
  await t.rejects(alter(log => log.subtrees.set(8, [randomBytes(32)])).proveInclusion(299), invalid, 'a subtree')
  await t.rejects(alter(log => log.subtrees.set(8, [])).proveInclusion(299), invalid, 'no subtree')
  await t.rejects(alter(log => log.events.splice(7, 1)).proveInclusion(7), invalid, 'the event is gone')
  await t.rejects(alter(log => log.events.splice(250)).proveInclusion(7), invalid, 'the tail is gone')
  const note = signCheckpoint(createNoteSigner('tokenvault/test', randomBytes(32)), {
    treeSize: 300,
    root: randomBytes(32),
  })
  const foreign = alter(log => (log.checkpoints[1] = { treeSize: 300, note }))
  await t.rejects(foreign.proveInclusion(7, 300), invalid, 'the key')
  await t.rejects(foreign.proveInclusion(299), { code: 'audit_event_unknown' }, 'covered by none of ours')
  const moved = alter(log => (log.checkpoints[1] = { ...log.checkpoints[0]!, treeSize: 300 }))
  await t.rejects(moved.proveInclusion(7, 300), invalid, 'a checkpoint of another size')
})

t.test('a changed proof proves nothing, and no shape makes the check throw anything else', async t => {
  const prover = createProver(readerOf(logOf(70, [40, 70])), verifier)
  const inclusion = await prover.proveInclusion(11)
  const consistency = await prover.proveConsistency(40)
  const { event: _, ...withoutEvent } = inclusion
  t.match(checkProof(withoutEvent, verifier), { sequence: 11, event: undefined })
  const other = createNoteSigner('tokenvault/test', randomBytes(32))
  const foreign = signCheckpoint(other, { treeSize: 70, root: randomBytes(32) })
  const changed = {
    'another sequence': { ...inclusion, sequence: 12 },
    'a text as sequence': { ...inclusion, sequence: '11' },
    'another event': { ...inclusion, event: inclusion.event?.replace('s-11', 's-12') },
    'an event that is no text': { ...inclusion, event: 7 },
    'an event that is no UTF-8': { ...inclusion, event: '\ud800' },
    'another leaf': { ...withoutEvent, leafHash: inclusion.path[0] },
    'a leaf of 31 bytes': { ...withoutEvent, leafHash: Buffer.alloc(31).toString('base64') },
    'a shorter path': { ...inclusion, path: inclusion.path.slice(1) },
    'a longer path': { ...inclusion, path: [...inclusion.path, inclusion.path[0]] },
    'a path that is none': { ...inclusion, path: { length: 7 } },
    'a path of numbers': { ...inclusion, path: inclusion.path.map(() => 7) },
    'no checkpoint': { ...inclusion, checkpoint: undefined },
    'a checkpoint of another key': { ...inclusion, checkpoint: foreign },
    'a checkpoint of another size': { ...inclusion, checkpoint: consistency.from },
    'a tree that shrinks': { ...consistency, from: consistency.to, to: consistency.from },
    'a consistency path cut': { ...consistency, path: consistency.path.slice(1) },
    'a consistency proof from a foreign key': { ...consistency, from: foreign },
    nothing: undefined,
    null: null,
    'a text': 'proof',
    'an empty object': {},
    'a list': [inclusion],
  }
  for (const [title, proof] of Object.entries(changed))
    t.throws(() => checkProof(proof, verifier), { code: /^(receipt|checkpoint)_invalid$/ }, title)
})

t.test('an event that is no text is proved by its hash', async t => {
  const tables = buildAuditTables([Buffer.from([0xff]), Buffer.from('b')], { signer, checkpointSizes: [2] })
  const proof = await createProver(readerOf(tables), verifier).proveInclusion(0)
  t.notOk('event' in proof)
  t.match(checkProof(proof, verifier), { sequence: 0 })
})
