import t, { type Test } from 'tap'
import type { TokenvaultError } from '../../../src/errors.ts'
import { openCheckpoint, signCheckpoint } from '../../../src/tlog/checkpoint.ts'
import { createNoteSigner } from '../../../src/tlog/signed-note.ts'
import { createProver, findNewest } from '../../../src/vault/evidence/prove.ts'
import { startEvidence } from '../../helpers/evidence/evidence.ts'

/** Evidence, and what whoever has the API's password can do to its checkpoints. */
async function start(t: Test) {
  const evidence = await startEvidence(t)
  const { store, signer, startMaker, published } = evidence
  const told: string[] = []
  const onInvalid = ({ code, message }: TokenvaultError) => void told.push(`${code}: ${message}`)
  return {
    ...evidence,
    told,
    start: () => startMaker({ onInvalid }),
    insert: (treeSize: number, note: string) => store.insertCheckpoint({ treeSize, note }),
    /** As another vault signs. */
    foreign: (treeSize: number) =>
      signCheckpoint(createNoteSigner(signer.name, new Uint8Array(32)), { treeSize, root: new Uint8Array(32) }),
    sizes: () => [...published().keys()].toSorted((a, b) => a - b),
  }
}

t.test('notes that nobody signed stop no checkpoint, and are told once', async t => {
  const { start: startMaker, append, insert, foreign, told, sizes, verifier, kept } = await start(t)
  const make = startMaker()
  await append(10)
  await make()
  await append(10)
  await insert(12, 'no note')
  await insert(15, foreign(15))
  await insert(18, 'x'.repeat(8192))
  t.equal((await make())?.treeSize, 20)
  t.strictSame(sizes(), [10, 20])
  const text = 'stored notes are not checkpoints that this vault signed for their size, the largest of size'
  t.strictSame(told, [`audit_invalid: 3 ${text} 18`])
  await make()
  await append(1)
  t.equal((await make())?.treeSize, 21)
  t.equal(told.length, 1)

  await append(3)
  await insert(22, '')
  await append(1)
  const restarted = startMaker()
  t.equal((await restarted())?.treeSize, 25, 'after a restart, too')
  t.strictSame(told.slice(1), [`audit_invalid: 1 ${text} 22`])
  t.equal((await make())?.treeSize, 25)
  t.equal(told.length, 3, 'each process tells what it finds')
  for (const size of [10, 20, 21, 25]) openCheckpoint((await kept()).get(size)!, verifier)
})

const placeTaken = (size: number) => ({
  code: 'audit_invalid',
  message: `another note has the place of the checkpoint of ${size}`,
})

t.test(
  'where one has the place of the checkpoint that is due, that is a failure, and the next size gets one',
  async t => {
    const { start: startMaker, append, insert, foreign, told, sizes } = await start(t)
    await append(5)
    await insert(5, foreign(5))
    const make = startMaker()
    await t.rejects(make(), placeTaken(5))
    await t.rejects(make(), placeTaken(5))
    t.equal(told.length, 1)
    t.strictSame(sizes(), [])
    await append(1)
    t.equal((await make())?.treeSize, 6)
    await append(1)
    await insert(7, 'another')
    await t.rejects(make(), placeTaken(7))
    await append(1)
    t.equal((await make())?.treeSize, 8)
    t.equal((await startMaker()())?.treeSize, 8)
    t.strictSame(sizes(), [6, 8])
  },
)

t.test('who takes the place between reading and keeping stops one checkpoint, and nothing after it', async t => {
  const { startMaker, store, append, sizes, foreign, insert } = await start(t)
  let intrude = false
  const make = startMaker({
    store: {
      async insertCheckpoint(checkpoint) {
        if (intrude) await insert(checkpoint.treeSize, foreign(checkpoint.treeSize))
        await store.insertCheckpoint(checkpoint)
      },
    },
  })
  await append(3)
  await make()
  await append(1)
  intrude = true
  await t.rejects(make(), placeTaken(4))
  intrude = false
  await t.rejects(make(), placeTaken(4))
  await append(1)
  t.equal((await make())?.treeSize, 5)
  t.strictSame(sizes(), [3, 5], 'what could not be kept was never published')
})

t.test('a note too long for any of ours is not kept, and one that stands there is not read', async t => {
  const { start: startMaker, append, insert, tamper, reader, told } = await start(t)
  await append(10)
  await t.rejects(insert(10, 'x'.repeat(8193)), { code: 'store_refused' })
  await tamper(`INSERT INTO pii_vault.checkpoints (tree_size, note) VALUES (10, repeat('x', 8193))`)
  t.strictSame(await reader.checkpointAt(10), { treeSize: 10, note: '' })
  t.strictSame(await reader.snapshot(view => view.readCheckpoints()), [{ treeSize: 10, note: '' }])
  const make = startMaker()
  await t.rejects(make(), placeTaken(10))
  await append(1)
  t.equal((await make())?.treeSize, 11)
  t.equal(told.length, 1)
})

t.test('what is shown and proved by is the newest that this vault signed, not the newest note', async t => {
  const { start: startMaker, append, insert, foreign, reader, verifier } = await start(t)
  const prover = createProver(reader, verifier)
  await append(10)
  await insert(4, foreign(4))
  t.equal(await findNewest(reader, verifier), undefined)
  await t.rejects(prover.proveInclusion(2), { code: 'audit_event_unknown' })
  const newest = await startMaker()()
  await append(5)
  await insert(15, foreign(15))
  await insert(14, newest!.note)
  await insert(13, 'no note')
  t.strictSame(await findNewest(reader, verifier), newest)
  t.equal((await prover.proveInclusion(2)).checkpoint, newest!.note)
  t.equal((await prover.proveConsistency(10)).to, newest!.note)
  await t.rejects(prover.proveInclusion(2, 15), { code: 'audit_invalid' })
})

t.test('a genuine note under another size is told, and holds the log all the same', async t => {
  const { start: startMaker, append, insert, told, signer, sizes, kept, tamper } = await start(t)
  const make = startMaker()
  await append(10)
  await make()
  const note = (await kept()).get(10)!
  await append(5)
  await insert(12, note)
  t.equal((await make())?.treeSize, 15)
  t.match(told, [/ 1 .* 12$/])

  await append(10)
  await insert(18, signCheckpoint(signer, { treeSize: 17, root: new Uint8Array(32) }))
  for (const maker of [make, startMaker()])
    await t.rejects(maker(), { code: 'audit_invalid', message: /25 events has not grown out of its checkpoint of 17/ })
  await tamper('DELETE FROM pii_vault.checkpoints WHERE tree_size = 18')
  t.equal((await make())?.treeSize, 25)
  t.strictSame(sizes(), [10, 15, 25])
})

t.test('nothing is signed that contradicts a validly signed one, though false ones stand behind it', async t => {
  const { start: startMaker, append, insert, signer, sizes, tamper } = await start(t)
  const make = startMaker()
  await append(10)
  await make()
  await append(5)
  await insert(12, signCheckpoint(signer, { treeSize: 12, root: new Uint8Array(32) }))
  await insert(14, 'no note')
  const expected = { code: 'audit_invalid', message: /has not grown out of its checkpoint of 12/ }
  await t.rejects(make(), expected)
  await t.rejects(startMaker()(), expected)
  await tamper('DELETE FROM pii_vault.checkpoints WHERE tree_size = 12')
  await tamper(`UPDATE pii_vault.audit_log SET leaf_hash = sha256('x') WHERE sequence = 3`)
  await t.rejects(make(), { code: 'audit_invalid', message: /has not grown out of its checkpoint of 10/ })
  await t.rejects(startMaker()(), { code: 'audit_invalid' })
  t.strictSame(sizes(), [10])
})

t.test('more false ones than are read at once are passed over', async t => {
  const { start: startMaker, append, insert, told, sizes } = await start(t)
  await append(1)
  await startMaker()()
  await append(300)
  for (let size = 2; size <= 290; size++) await insert(size, `false ${size}`)
  t.equal((await startMaker()())?.treeSize, 301)
  t.match(told, [/ 289 .* 290$/])
  t.strictSame(sizes(), [1, 301])
})
