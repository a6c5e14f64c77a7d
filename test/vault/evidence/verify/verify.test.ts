import { randomBytes, randomInt } from 'node:crypto'
import t from 'tap'
import { signCheckpoint } from '../../../../src/tlog/checkpoint.ts'
import { createNoteSigner, createNoteVerifier, type NoteVerifier } from '../../../../src/tlog/signed-note.ts'
import { verifyAudit } from '../../../../src/vault/evidence/verify/verify.ts'
import {
  checkpointOf,
  createChoices,
  firstDifference,
  mutateAuditTables,
} from '../../../helpers/evidence/audit-mutations.ts'
import { buildAuditTables, memoryEvent, viewOf } from '../../../helpers/evidence/memory-audit-log.ts'

const signer = createNoteSigner('tokenvault/test', randomBytes(32))
const verifier = createNoteVerifier(signer.verifierKey)
const eventsOf = (count: number) => Array.from({ length: count }, (_, sequence) => memoryEvent(sequence))
const logOf = (count: number, checkpointSizes: readonly number[] = []) =>
  buildAuditTables(eventsOf(count), { signer, checkpointSizes })

/** One seed gives the same mutations again: AUDIT_SEED=… tap FILE. */
const seed = Number(process.env['AUDIT_SEED'] ?? randomInt(2 ** 31))
const mutations = Number(process.env['AUDIT_MUTATIONS'] ?? 10_000)

t.test('an intact log is intact, whatever its size and wherever its checkpoints stand', async t => {
  for (const size of [...Array.from({ length: 70 }, (_, n) => n), 255, 256, 257, 600]) {
    const half = Math.floor(size / 2)
    const tables = logOf(size, [0, half, size])
    const external = [
      { source: 'kept', note: checkpointOf(tables, signer) },
      { source: 'older', note: checkpointOf(logOf(half), signer) },
    ]
    const result = await verifyAudit(viewOf(tables, 50), { verifier, external })
    if (!result.isIntact || result.events !== size) t.fail(`size ${size}`, { found: result })
  }
})

t.test('what is told of an intact log', async t => {
  const tables = logOf(300, [100, 200])
  const progress: [number, number][] = []
  const options = { verifier, onProgress: (done: number, total: number) => progress.push([done, total]) }
  t.strictSame(await verifyAudit(viewOf(tables, 100), options), {
    isIntact: true,
    events: 300,
    root: checkpointOf(tables, signer).split('\n')[2],
    checkpoints: { stored: 2, external: 0 },
    signaturesChecked: true,
    findings: [],
    omitted: 0,
  })
  t.same(progress, [
    [100, 300],
    [200, 300],
    [300, 300],
  ])
  t.match(await verifyAudit(viewOf(tables)), { isIntact: true, signaturesChecked: false })
})

t.test(`${mutations} mutations of a log of which somebody kept a checkpoint: all are found (seed ${seed})`, async t => {
  const choices = createChoices(seed)
  const original = logOf(150, [40, 80, 120, 150])
  // The same few notes come ten thousand times.
  const known = new Map<string, boolean>()
  const remembering: NoteVerifier = {
    ...verifier,
    verify(text, signature) {
      const name = `${text}${signature}`
      const answer = known.get(name) ?? verifier.verify(text, signature)
      if (known.size < 1000) known.set(name, answer)
      return answer
    },
  }
  const external = [{ source: 'kept', note: checkpointOf(original, signer) }]
  t.match(await verifyAudit(viewOf(original), { verifier, external }), { isIntact: true })
  const missed: string[] = []
  const misplaced: string[] = []
  const kinds = new Map<string, number>()
  for (let n = 0; n < mutations; n++) {
    const { title, tables } = mutateAuditTables(original, choices)
    const { isIntact, findings } = await verifyAudit(viewOf(tables), { verifier: remembering, external })
    if (isIntact) missed.push(`${n}: ${title}`)
    kinds.set(title, (kinds.get(title) ?? 0) + 1)
    const place = firstDifference(tables.events, original.events)
    const mismatch = findings.find(({ code }) => code === 'checkpoint_mismatch')
    if (mismatch !== undefined && !(mismatch.from! <= place && place < mismatch.to!)) misplaced.push(`${n}: ${title}`)
  }
  t.same(missed, [], 'none is missed')
  t.same(misplaced, [], 'the interval that a mismatch names holds the first change')
  t.equal(kinds.size, 40, 'every kind with every way to hide it came up')
})

t.test('a log that was rewritten by who owns the database shows by the kept checkpoint alone', async t => {
  const original = logOf(60, [20, 40, 60])
  const external = [20, 40, 60].map(size => ({ source: `kept ${size}`, note: checkpointOf(logOf(size), signer) }))
  // The whole log from event 30 on is another, gapless and with all hashes right; checkpoints of before are left.
  const forged = buildAuditTables([...eventsOf(30), ...Array.from({ length: 30 }, (_, n) => memoryEvent(900 + n))])
  forged.checkpoints = original.checkpoints.slice(0, 1)
  t.match(await verifyAudit(viewOf(forged), { verifier }), { isIntact: true }, 'without a kept one nobody can tell')
  t.strictSame((await verifyAudit(viewOf(forged), { verifier, external })).findings, [
    { code: 'checkpoint_mismatch', from: 20, to: 40, treeSize: 40, source: 'kept 40', count: 2 },
  ])
  const cut = logOf(50, [20, 40])
  t.match((await verifyAudit(viewOf(cut), { verifier, external })).findings, [
    { code: 'checkpoint_unreached', from: 50, to: 60, treeSize: 60, source: 'kept 60', count: 1 },
  ])
  // Who holds the signing key, too, can make the database say anything; the kept one still stands against it.
  const resigned = buildAuditTables(
    forged.events.map(({ event }) => event),
    { signer, checkpointSizes: [20, 40, 60] },
  )
  t.strictSame((await verifyAudit(viewOf(resigned), { verifier, external })).findings, [
    { code: 'checkpoint_mismatch', from: 40, to: 40, treeSize: 40, source: 'kept 40', count: 1 },
    { code: 'checkpoint_mismatch', from: 60, to: 60, treeSize: 60, source: 'kept 60', count: 1 },
  ])
})

t.test('a log replaced as a whole fills no memory with findings', async t => {
  const tables = logOf(5000)
  // Every second leaf hash is wrong, so that no range takes two.
  tables.events = tables.events.map(event =>
    event.sequence % 2 === 0 ? { ...event, leafHash: randomBytes(32) } : event,
  )
  const { findings, omitted } = await verifyAudit(viewOf(tables))
  t.equal(findings.length, 1000)
  t.equal(omitted, 1500)
  tables.events = tables.events.map(event => ({ ...event, leafHash: randomBytes(32) }))
  t.strictSame((await verifyAudit(viewOf(tables))).findings, [
    { code: 'leaf_hash_wrong', from: 0, to: 5000, count: 5000 },
  ])
})

t.test('a store that fails is no finding', async t => {
  const view = { ...viewOf(logOf(3)), compareSearchIndex: () => Promise.reject(new TypeError('fault')) }
  await t.rejects(verifyAudit(view), { message: 'fault' })
})

t.test('a checkpoint for which there is no key is compared all the same', async t => {
  const tables = logOf(9, [4])
  const other = createNoteSigner('another', randomBytes(32))
  tables.checkpoints = [{ treeSize: 4, note: signCheckpoint(other, { treeSize: 4, root: randomBytes(32) }) }]
  t.match((await verifyAudit(viewOf(tables))).findings, [{ code: 'checkpoint_mismatch', source: 'database' }])
})
