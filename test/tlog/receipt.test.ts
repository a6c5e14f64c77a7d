import { randomBytes } from 'node:crypto'
import t from 'tap'
import { formatCheckpoint, openCheckpoint } from '../../src/tlog/checkpoint.ts'
import { leafHash } from '../../src/tlog/merkle.ts'
import { formatReceipt, openReceipt, signReceipt } from '../../src/tlog/receipt.ts'
import { createNoteSigner, createNoteVerifier, formatNote, openNote } from '../../src/tlog/signed-note.ts'

const signer = createNoteSigner('tokenvault/default', Buffer.alloc(32, 7))
const verifier = createNoteVerifier(signer.verifierKey)
const event = { sequence: 12, leafHash: leafHash(Buffer.from('event')) }

t.test('the text of a receipt never changes: others keep receipts', async t => {
  const receipt = signReceipt(signer, event)
  const base64 = Buffer.from(event.leafHash).toString('base64')
  t.equal(formatReceipt(receipt), `tokenvault receipt v1\ntokenvault/default\n12\n${base64}\n`)
  t.match(receipt, { log: 'tokenvault/default', sequence: 12, leafHash: base64 })
  // Fixed seed, deterministic signature (RFC 8032): signed anew, it is the same.
  t.same(signReceipt(signer, event), receipt)
  const note = formatNote(formatReceipt(receipt), [{ name: receipt.log, signature: receipt.signature }])
  t.equal(openNote(note, verifier), formatReceipt(receipt), 'any reader of signed notes can check it')
})

t.test('a receipt opens with the verifier key alone', async t => {
  t.same(openReceipt(JSON.parse(JSON.stringify(signReceipt(signer, event))), verifier), event)
})

t.test('a receipt that was changed, or of another key or log, does not open', async t => {
  const receipt = signReceipt(signer, event)
  const other = createNoteSigner('tokenvault/default', randomBytes(32))
  const elsewhere = createNoteSigner('tokenvault/other', Buffer.alloc(32, 7))
  const changed = {
    'another sequence': { ...receipt, sequence: 13 },
    'another leaf': { ...receipt, leafHash: Buffer.alloc(32).toString('base64') },
    'another signature': { ...receipt, signature: signReceipt(signer, { ...event, sequence: 1 }).signature },
    'another key': signReceipt(other, event),
    'another log': signReceipt(elsewhere, event),
    'a log of another name': { ...receipt, log: 'tokenvault/other' },
  }
  for (const [title, value] of Object.entries(changed))
    t.throws(() => openReceipt(value, verifier), { code: 'receipt_invalid' }, title)
})

t.test('what is no receipt is refused, not thrown at', async t => {
  const receipt = signReceipt(signer, event)
  const odd = [
    null,
    undefined,
    7,
    'receipt',
    [],
    {},
    ...Object.keys(receipt).map(name => ({ ...receipt, [name]: undefined })),
    ...Object.keys(receipt).map(name => ({ ...receipt, [name]: [receipt[name as keyof typeof receipt]] })),
    ...[-1, 0.5, 2 ** 53, Number.NaN].map(sequence => ({ ...receipt, sequence })),
    { ...receipt, sequence: '12' },
    { ...receipt, leafHash: Buffer.alloc(31).toString('base64') },
    { ...receipt, leafHash: `${receipt.leafHash}\n` },
    { ...receipt, signature: '' },
  ]
  for (const value of odd)
    t.throws(() => openReceipt(value, verifier), { code: 'receipt_invalid' }, JSON.stringify(value))
})

t.test('a receipt is never a checkpoint, nor a checkpoint a receipt', async t => {
  const receipt = signReceipt(signer, event)
  const note = formatNote(formatReceipt(receipt), [{ name: receipt.log, signature: receipt.signature }])
  t.throws(() => openCheckpoint(note, verifier), { code: 'checkpoint_invalid' })
  const text = formatCheckpoint({ logName: signer.name, treeSize: 12, root: event.leafHash })
  t.throws(() => openReceipt({ ...receipt, signature: signer.sign(text) }, verifier), { code: 'receipt_invalid' })
})
