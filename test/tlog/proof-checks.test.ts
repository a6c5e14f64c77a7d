import t from 'tap'
import { TokenvaultError } from '../../src/errors.ts'
import type * as receipts from '../../src/tlog/check-receipt.ts'
import { formatCheckpoint, signCheckpoint } from '../../src/tlog/checkpoint.ts'
import { Frontier, foldRoots, leafHash } from '../../src/tlog/merkle.ts'
import type * as proofs from '../../src/tlog/proof.ts'
import { formatReceipt, signReceipt } from '../../src/tlog/receipt.ts'
import { createNoteSigner, createNoteVerifier, formatNote, type NoteVerifier } from '../../src/tlog/signed-note.ts'
import { createProver } from '../../src/vault/evidence/prove.ts'
import { buildAuditTables, memoryEvent, readerOf } from '../helpers/evidence/memory-audit-log.ts'
import { type Broken, breakSources } from '../helpers/source/broken-sources.ts'

const signer = createNoteSigner('tokenvault/test', Buffer.alloc(32, 1))
const stranger = createNoteSigner('tokenvault/test', Buffer.alloc(32, 2))
const slow = createNoteVerifier(signer.verifierKey)
/** The same few signatures are checked for every broken copy. */
const known = new Map<string, boolean>()
const verifier: NoteVerifier = {
  ...slow,
  verify(text, signature) {
    const name = `${text}${signature}`
    if (!known.has(name)) known.set(name, slow.verify(text, signature))
    return known.get(name)!
  },
}

/** Sizes at which every branch of RFC 9162, 2.1.3.2 and 2.1.4.2 is taken. */
const sizes = Array.from({ length: 18 }, (_, size) => size)
const events = sizes.slice(1).map(memoryEvent)
const roots = sizes.map(size => {
  const frontier = new Frontier()
  for (const event of events.slice(0, size)) frontier.append(leafHash(event))
  return frontier.root()
})

/** What an outsider may be handed, and whether it proves something. */
interface Handed {
  readonly proof: unknown
  readonly receipt?: unknown
  readonly proves: boolean
}

async function collectHanded(): Promise<Handed[]> {
  const prover = createProver(readerOf(buildAuditTables(events, { signer, checkpointSizes: sizes })), verifier)
  const handed: Handed[] = []
  const base64 = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64')
  const signed = (treeSize: number, root: Uint8Array) => signCheckpoint(signer, { treeSize, root })
  for (const size of sizes.slice(1)) {
    for (let sequence = 0; sequence < size; sequence += 1 + (size % 3)) {
      const proof = await prover.proveInclusion(sequence, size)
      const { event: _, ...bare } = proof
      const longer = [...proof.path, base64(roots[3]!)]
      handed.push(
        { proof, proves: true },
        { proof: { ...proof, event: memoryEvent(99).toString() }, proves: false },
        { proof: { ...bare, leafHash: base64(roots[2]!) }, proves: false },
        { proof: { ...proof, sequence: sequence + size }, proves: false },
        { proof: { ...proof, path: longer }, proves: false },
        {
          proof: { ...proof, path: longer, checkpoint: signed(size, foldRoots([roots[3]!, roots[size]!])) },
          proves: false,
        },
        { proof: { ...proof, checkpoint: signed(size, roots[size - 1]!) }, proves: false },
      )
      if (proof.path.length > 0) handed.push({ proof: { ...proof, path: proof.path.slice(0, -1) }, proves: false })
    }
    for (const from of sizes.slice(0, size + 1)) {
      const proof = await prover.proveConsistency(from, size)
      const longer = [...proof.path, base64(roots[3]!)]
      handed.push(
        { proof, proves: true },
        { proof: { ...proof, path: longer }, proves: false },
        { proof: { ...proof, from: signed(from, leafHash(Buffer.from('x'))) }, proves: false },
        // Every tree grows out of the empty one.
        { proof: { ...proof, to: signed(size, leafHash(Buffer.from('x'))) }, proves: from === 0 },
      )
      if (proof.path.length > 0) handed.push({ proof: { ...proof, path: proof.path.slice(0, -1) }, proves: false })
      // What a path that goes on above both roots would lead to.
      const above = (n: number) => signed(n, foldRoots([roots[3]!, roots[n]!]))
      handed.push({ proof: { from: above(from), to: above(size), path: longer }, proves: false })
      if (from < size) handed.push({ proof: { ...proof, from: proof.to, to: proof.from }, proves: false })
      if (proof.path.length > 0) handed.push({ proof: { ...proof, path: [] }, proves: false })
    }
  }
  const whole = await prover.proveInclusion(5, 17)
  const grown = await prover.proveConsistency(5, 17)
  const { event: _, ...bare } = whole
  const foreignText = formatCheckpoint({ logName: 'tokenvault/other', treeSize: 17, root: roots[17]! })
  const foreign = formatNote(foreignText, [{ name: signer.name, signature: signer.sign(foreignText) }])
  const strangers = signCheckpoint(stranger, { treeSize: 17, root: roots[17]! })
  const twoSigned = formatNote(formatCheckpoint({ logName: signer.name, treeSize: 17, root: roots[17]! }), [
    { name: stranger.name, signature: stranger.sign('x') },
    { name: signer.name, signature: signer.sign('another text\n') },
  ])
  const one = { sequence: 0, leafHash: base64(leafHash(events[0]!)), path: [], checkpoint: signed(1, roots[1]!) }
  const odd: unknown[] = [
    ...[foreign, strangers, twoSigned, 'no note'].flatMap(note => [
      { ...whole, checkpoint: note },
      { ...grown, to: note },
      { ...grown, from: note },
    ]),
    ...[undefined, 7, null].flatMap(none => [
      { ...bare, checkpoint: none },
      { ...bare, leafHash: none },
      { ...bare, path: none },
      { ...grown, from: none },
      { ...grown, to: none },
      { ...grown, path: none },
    ]),
    ...['5', -1, 0.5, 17, Number.NaN].map(sequence => ({ ...bare, sequence })),
    ...[7, '\ud800'].map(event => ({ ...whole, event })),
    { ...bare, path: bare.path.with(0, `${bare.path[0]} `) },
    { ...bare, path: [...bare.path.slice(0, 1), 7, ...bare.path.slice(2)] },
    { ...one, leafHash: base64(roots[1]!.subarray(1)) },
    { ...one, sequence: -0.5 },
  ]
  const text = formatCheckpoint({ logName: signer.name, treeSize: 1, root: roots[1]! })
  const oddTexts = [`${text}\n`, `${text}\nmore\n`, `${text}more`, `\n${text}`, text.replace('\n1\n', '\n01\n')]
  const noted = (content: string) => formatNote(content, [{ name: signer.name, signature: signer.sign(content) }])
  odd.push(...oddTexts.map(content => ({ ...one, checkpoint: noted(content) })))
  handed.push({ proof: { ...one, checkpoint: noted(`${text}more\nand more\n`) }, proves: true })
  handed.push({ proof: one, proves: true }, { proof: bare, proves: true })
  handed.push(...odd.map(proof => ({ proof, proves: false })))
  // A leaf that is as long as two hashes could stand for an inner node.
  const two = { index: 0, pair: Buffer.concat([leafHash(events[0]!), leafHash(events[1]!)]) }
  handed.push({ proof: { ...one, leafHash: base64(two.pair) }, proves: false })

  const receipt = signReceipt(signer, { sequence: 5, leafHash: leafHash(events[5]!) })
  const other = signReceipt(signer, { sequence: 6, leafHash: leafHash(events[6]!) })
  const elsewhere = signReceipt(signer, { sequence: 5, leafHash: leafHash(events[6]!) })
  const moved = signReceipt(signer, { sequence: 6, leafHash: leafHash(events[5]!) })
  handed.push({ proof: whole, receipt, proves: true }, { proof: undefined, receipt, proves: true })
  handed.push({ proof: undefined, receipt: { results: [], receipt }, proves: true })
  for (const wrong of [other, elsewhere, moved]) handed.push({ proof: whole, receipt: wrong, proves: false })
  handed.push({ proof: grown, receipt, proves: false })
  const renamed = createNoteSigner('tokenvault/other', Buffer.alloc(32, 1))
  const otherLog = { ...receipt, log: 'tokenvault/other' }
  handed.push({ proof: undefined, receipt: signReceipt(signer, { sequence: 0, leafHash: roots[1]! }), proves: true })
  const oddReceipts: unknown[] = [
    { ...otherLog, signature: signer.sign(formatReceipt(otherLog)) },
    signReceipt(stranger, { sequence: 5, leafHash: leafHash(events[5]!) }),
    signReceipt(renamed, { sequence: 5, leafHash: leafHash(events[5]!) }),
    signReceipt(signer, { sequence: 0.5, leafHash: leafHash(events[5]!) }),
    signReceipt(signer, { sequence: -1, leafHash: leafHash(events[5]!) }),
    signReceipt(signer, { sequence: 5, leafHash: Buffer.alloc(31) }),
    { ...receipt, sequence: 6 },
    { ...receipt, signature: other.signature },
    { ...receipt, signature: receipt.signature.slice(0, -4) },
    ...Object.keys(receipt).flatMap(name => [
      { ...receipt, [name]: undefined },
      { ...receipt, [name]: [1] },
    ]),
  ]
  handed.push(...oddReceipts.map(wrong => ({ proof: undefined, receipt: wrong, proves: false })))
  return handed
}

type Check = Pick<typeof proofs & typeof receipts, 'checkProof' | 'checkReceipt'>

/** Whether the check accepts what it should, and refuses the rest by one of its codes and no other way. */
function isRight(check: Check, { proof, receipt, proves }: Handed): boolean {
  try {
    if (receipt === undefined) check.checkProof(proof, verifier)
    else check.checkReceipt(receipt, verifier, proof)
    return proves
  } catch (error) {
    return !proves && error instanceof TokenvaultError && /^(receipt|checkpoint)_invalid$/.test(error.code)
  }
}

/** What the check is made of. Making proofs and signatures is in the same files, and shown elsewhere. */
const sources = ['tlog/proof.ts', 'tlog/check-receipt.ts', 'tlog/receipt.ts', 'tlog/checkpoint.ts', 'tlog/merkle.ts']

const from = {
  'tlog/merkle.ts': '/** Whether the path proves that the leaf',
  'tlog/receipt.ts': '/**\n * @param receipt as',
}

t.test('no line of what an outsider checks with can be broken without a case that shows it', async t => {
  const handed = await collectHanded()
  const survivors: string[] = []
  let copies = 0
  for (const broken of breakSources({ folder: t.testdir({}), sources, from, harmless })) {
    const wrong = await findWrong(broken, handed)
    if (copies++ === 0) t.same(wrong, undefined, `the unbroken copy behaves in ${handed.length} cases`)
    else if (wrong === undefined) survivors.push(broken.title)
  }
  t.ok(copies > 50, `${copies - 1} broken checks`)
  t.same(survivors, [])
})

async function findWrong(broken: Broken, handed: readonly Handed[]): Promise<unknown> {
  try {
    const { checkProof } = await broken.load<typeof proofs>('tlog/proof.ts')
    const { checkReceipt } = await broken.load<typeof receipts>('tlog/check-receipt.ts')
    return handed.find(one => !isRight({ checkProof, checkReceipt }, one))
  } catch (error) {
    return error
  }
}

/** Lines whose break is caught by another; that each of them refuses by itself is shown beside its own file. */
const harmless: readonly RegExp[] = [
  // A root of another length, or a size that is none, comes to verifyInclusion and verifyConsistency, and is refused there.
  /if \(logName === '' \|\| !Number\.isSafeInteger\(treeSize\)/,
  // A size that is none, or a hash of another length, leads to no root.
  /isCount\(|isTreeHash|Number\.isSafeInteger\(n\)/,
  /if \(start === undefined\) return false/,
]
