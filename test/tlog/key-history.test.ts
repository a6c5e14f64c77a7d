import t from 'tap'
import { openCheckpoint, signCheckpoint } from '../../src/tlog/checkpoint.ts'
import { signHandOver } from '../../src/tlog/hand-over.ts'
import { followHandOvers, formatLogKeys, readLogKeys, traceHandOvers } from '../../src/tlog/key-history.ts'
import { openReceipt, signReceipt } from '../../src/tlog/receipt.ts'
import { createNoteSigner, createNoteVerifier } from '../../src/tlog/signed-note.ts'

const [first, second, third] = [1, 2, 3].map(byte => createNoteSigner('tokenvault/test', Buffer.alloc(32, byte))) as [
  ReturnType<typeof createNoteSigner>,
  ReturnType<typeof createNoteSigner>,
  ReturnType<typeof createNoteSigner>,
]
const root = Buffer.alloc(32, 7)
const note = signHandOver(
  { from: first, to: second },
  { treeSize: 6, root, at: '2026-03-01T00:00:00.000Z', reason: 'routine' },
)

t.test('what a key signed outside of its validity is refused by name', async t => {
  const keys = followHandOvers(createNoteVerifier(first.verifierKey), [note])
  const [old, late] = [first, second].map(({ verifierKey }) => verifierKey.split('+')[1])
  const of = (signer: typeof first, treeSize: number) => signCheckpoint(signer, { treeSize, root })
  t.throws(() => openCheckpoint(of(first, 7), keys), {
    code: 'checkpoint_invalid',
    message: `the key ${old} of the log signs no tree of 7 events, and ${late} did not sign this one`,
  })
  t.throws(() => openCheckpoint(of(second, 6), keys), { message: /^the key .* signs no tree of 6 events/ })
  t.throws(() => openCheckpoint(of(third, 6), keys), { message: 'the note bears no signature of the given key' })
  t.match(openCheckpoint(of(second, 7), keys), { treeSize: 7 })
  const receipt = (signer: typeof first, sequence: number) => signReceipt(signer, { sequence, leafHash: root })
  const outside = { code: 'receipt_invalid', message: /signs no event of its sequence/ }
  t.throws(() => openReceipt(receipt(first, 6), keys), outside)
  t.throws(() => openReceipt(receipt(second, 5), keys), outside)
  t.throws(() => openReceipt(receipt(third, 5), keys), { message: /wrong, or of another key/ })
  t.match(
    [openReceipt(receipt(first, 5), keys), openReceipt(receipt(second, 6), keys)],
    [{ sequence: 5 }, { sequence: 6 }],
  )
})

t.test('a process traces the keys of its log from the one that it holds', async t => {
  const keys = traceHandOvers(second.verifierKey, [note])
  t.strictSame(
    keys.spans.map(({ verifier, above, upTo }) => [verifier.verifierKey, above, upTo]),
    [
      [first.verifierKey, -1, 6],
      [second.verifierKey, 6, Number.POSITIVE_INFINITY],
    ],
  )
  t.strictSame(traceHandOvers(first.verifierKey, []).spans.length, 1)
  const astray = {
    code: 'checkpoint_invalid',
    message: 'the hand-overs of the log do not lead to the key that signs now',
  }
  t.throws(() => traceHandOvers(first.verifierKey, [note]), astray)
  t.throws(() => traceHandOvers(third.verifierKey, [note]), { message: /not linked/ })
})

t.test('the file of keys that is printed is read again', async t => {
  const keys = traceHandOvers(second.verifierKey, [note])
  t.strictSame(readLogKeys(formatLogKeys(keys, [note])).spans.length, 2)
  t.equal(formatLogKeys(createNoteVerifier(first.verifierKey), []), `${first.verifierKey}\n`)
})
