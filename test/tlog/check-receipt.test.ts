import { randomBytes } from 'node:crypto'
import t from 'tap'
import { checkReceipt } from '../../src/tlog/check-receipt.ts'
import { signReceipt } from '../../src/tlog/receipt.ts'
import { createNoteSigner, createNoteVerifier } from '../../src/tlog/signed-note.ts'
import { createProver } from '../../src/vault/evidence/prove.ts'
import { buildAuditTables, memoryEvent, readerOf } from '../helpers/evidence/memory-audit-log.ts'

const signer = createNoteSigner('tokenvault/test', randomBytes(32))
const verifier = createNoteVerifier(signer.verifierKey)
const tables = buildAuditTables(
  Array.from({ length: 20 }, (_, sequence) => memoryEvent(sequence)),
  { signer, checkpointSizes: [20] },
)
const prover = createProver(readerOf(tables), verifier)
const receiptOf = (sequence: number) => signReceipt(signer, { sequence, leafHash: tables.events[sequence]!.leafHash })

t.test('a receipt is checked by itself, as it stands in the reply, and against a proof', async t => {
  const receipt = receiptOf(4)
  t.match(checkReceipt(receipt, verifier), { sequence: 4 })
  t.match(checkReceipt({ results: [], receipt }, verifier), { sequence: 4 })
  const proof = await prover.proveInclusion(4)
  t.match(checkReceipt(receipt, verifier, JSON.parse(JSON.stringify(proof))), {
    sequence: 4,
    proven: { event: memoryEvent(4).toString(), checkpoint: { treeSize: 20 } },
  })
})

t.test('a proof about another event, or about none, does not confirm a receipt', async t => {
  const invalid = { code: 'receipt_invalid', message: 'the proof is not about the event of the receipt' }
  t.throws(() => checkReceipt(receiptOf(4), verifier, { receipt: receiptOf(4) }), { code: 'receipt_invalid' })
  const [other, consistency] = [await prover.proveInclusion(5), await prover.proveConsistency(20)]
  t.throws(() => checkReceipt(receiptOf(4), verifier, other), invalid)
  t.throws(() => checkReceipt(receiptOf(4), verifier, consistency), invalid)
  // What the log would show if it had put another event in the place that was promised.
  const promised = signReceipt(signer, { sequence: 5, leafHash: randomBytes(32) })
  t.throws(() => checkReceipt(promised, verifier, other), invalid)
  for (const odd of [undefined, null, 7, {}, { receipt: null }, { receipt: {} }])
    t.throws(() => checkReceipt(odd, verifier), { code: 'receipt_invalid' })
})
