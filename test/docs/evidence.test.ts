import { spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { signReceipt } from '../../src/tlog/receipt.ts'
import { createNoteSigner, createNoteVerifier } from '../../src/tlog/signed-note.ts'
import { describeArchiveEvent } from '../../src/vault/admission/archive-event.ts'
import { describeKeyEvent } from '../../src/vault/admission/key-event.ts'
import { createProver } from '../../src/vault/evidence/prove.ts'
import { buildAuditTables, memoryEvent, readerOf } from '../helpers/evidence/memory-audit-log.ts'
import { readGolden } from '../helpers/golden/golden.ts'

const doc = readFileSync(new URL('../../docs/evidence.md', import.meta.url), 'utf8')
const example = (language: string) =>
  new RegExp(`\`\`\`${language}\\n(import base64[\\s\\S]*?|field\\(\\)[\\s\\S]*?)\`\`\``).exec(doc)![1]!

function has(command: string, ...args: string[]): boolean {
  return spawnSync(command, args).status === 0
}

/** What an outsider was given: a proof of each event, a receipt, and the verifier key. */
async function giveAway(folder: string) {
  const signer = createNoteSigner('tokenvault/default', Buffer.alloc(32, 5))
  const events = Array.from({ length: 13 }, (_, sequence) => memoryEvent(sequence))
  const tables = buildAuditTables(events, { signer, checkpointSizes: [13] })
  const prover = createProver(readerOf(tables), createNoteVerifier(signer.verifierKey))
  const proofs = await Promise.all(events.map((_, sequence) => prover.proveInclusion(sequence)))
  const receipt = signReceipt(signer, tables.events[7]!)
  const write = (name: string, text: string) => writeFileSync(join(folder, name), text)
  write('audit.vkey', `${signer.verifierKey}\n`)
  return { proofs, receipt, write }
}

t.test('the page lists every property of an event, in the order in which events have them', async t => {
  const rows = /^\| property \|[\s\S]*?\n\n/m.exec(doc)![0].trim().split('\n').slice(2)
  const listed = rows.flatMap(row => [...row.split('|')[1]!.matchAll(/`(\w+)`/g)].map(([, name]) => name!))
  const shown = /^\{"format":2,.*\}$/m.exec(doc)![0]
  const golden = Object.values(readGolden<{ events: Record<string, { event?: string }> }>('events').events)
  const written = golden.flatMap(({ event }) => (event === undefined ? [] : [event.replaceAll("'", '"')]))
  const done = { administrator: { login: 'carol' }, at: new Date(0), requestId: 'r', kekId: 'local:0123456789abcdef' }
  const ofKeys = JSON.stringify(describeKeyEvent('key_rewrap', [{ purpose: 'audit', field: '', version: 1 }], done))
  const ofMonths = describeArchiveEvent('rows_archive', { ...done, months: ['2025-11'], rows: 1 })
  const used = [shown, ofKeys, JSON.stringify(ofMonths), ...written].map(event => Object.keys(JSON.parse(event)))
  for (const names of used) {
    const inOrder = listed.filter(name => names.includes(name))
    t.strictSame(names, inOrder)
  }
  // Of people, and of several refusals together.
  const counted = ['count', 'until', 'person']
  t.strictSame([...new Set([...used.flat(), ...counted])].toSorted(), listed.toSorted(), 'and none besides')
})

const python = has('python3', '-c', 'import cryptography')
  ? {}
  : { skip: 'no Python with the cryptography package here' }
t.test('the Python of the document checks proofs, and refuses what is none', python, async t => {
  const folder = t.testdir({ 'check-proof.py': example('python') })
  const { proofs, write } = await giveAway(folder)
  const check = () =>
    spawnSync('python3', ['check-proof.py', 'proof.json', 'audit.vkey'], { cwd: folder, encoding: 'utf8' })
  for (const sequence of [0, 7, 12]) {
    write('proof.json', JSON.stringify(proofs[sequence]))
    t.equal(check().stdout, `proven: event ${sequence} of tokenvault/default with 13 events\n`)
  }
  const forged = [
    { ...proofs[7], event: memoryEvent(8).toString() },
    { ...proofs[7], sequence: 8 },
    { ...proofs[7], checkpoint: proofs[7]!.checkpoint.replace('\n13\n', '\n14\n') },
  ]
  for (const proof of forged) {
    write('proof.json', JSON.stringify(proof))
    t.not(check().status, 0)
  }
})

const openssl =
  has('openssl', 'pkeyutl', '-help') && has('python3', '-c', '') ? {} : { skip: 'no OpenSSL and Python here' }
t.test('the shell of the document checks receipts, and refuses what is none', openssl, async t => {
  const folder = t.testdir({ 'check-receipt.sh': example('sh') })
  const { receipt, write } = await giveAway(folder)
  const check = () => spawnSync('sh', ['check-receipt.sh'], { cwd: folder, encoding: 'utf8' })
  write('reply.json', JSON.stringify({ results: [], receipt }))
  t.match(check(), { status: 0, stdout: 'Signature Verified Successfully\n' })
  write('reply.json', JSON.stringify({ results: [], receipt: { ...receipt, sequence: 8 } }))
  t.not(check().status, 0)
})
