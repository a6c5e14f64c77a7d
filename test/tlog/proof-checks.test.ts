import t from 'tap'
import { TokenvaultError } from '../../src/errors.ts'
import type * as receipts from '../../src/tlog/check-receipt.ts'
import { formatCheckpoint, signCheckpoint } from '../../src/tlog/checkpoint.ts'
import { type HandOverReason, signHandOver } from '../../src/tlog/hand-over.ts'
import type * as history from '../../src/tlog/key-history.ts'
import { Frontier, foldRoots, leafHash } from '../../src/tlog/merkle.ts'
import type * as proofs from '../../src/tlog/proof.ts'
import { formatReceipt, signReceipt } from '../../src/tlog/receipt.ts'
import {
  createNoteSigner,
  createNoteVerifier,
  formatNote,
  type NoteSigner,
  type NoteVerifier,
} from '../../src/tlog/signed-note.ts'
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
  /** Keys of the log as an outsider keeps them; the one verifier key when absent. */
  readonly keys?: string
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
  handed.push(...(await collectHandedOver()))
  return handed
}

/** The log of before with a second key from 6 events on, and a third from 12: what each may sign, and what leads to them. */
async function collectHandedOver(): Promise<Handed[]> {
  const [second, third] = [2, 3].map(byte => createNoteSigner('tokenvault/test', Buffer.alloc(32, byte)))
  const signers = [signer, second!, third!]
  const at = '2026-03-01T00:00:00.000Z'
  const over = (place: number, treeSize: number, reason: HandOverReason = 'routine', root = roots[treeSize]!) =>
    signHandOver({ from: signers[place]!, to: signers[place + 1]! }, { treeSize, root, at, reason })
  const [one, two] = [over(0, 6), over(1, 12)]
  const first = signer.verifierKey
  const chain = `${first}\n\n${one}\n\n${two}`
  const revoked = `${first}\n${over(0, 6, 'revoked')}${two}`
  const base64 = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64')
  const prover = createProver(readerOf(buildAuditTables(events, { signer, checkpointSizes: sizes })))
  const handed: Handed[] = []
  for (const [place, each] of signers.entries()) {
    for (const size of [1, 5, 6, 7, 11, 12, 13, 17]) {
      const isDue = place === (size <= 6 ? 0 : size <= 12 ? 1 : 2)
      const checkpoint = signCheckpoint(each, { treeSize: size, root: roots[size]! })
      const proof = { ...(await prover.proveInclusion(size - 1, size)), checkpoint }
      const receipt = signReceipt(each, { sequence: size - 1, leafHash: leafHash(events[size - 1]!) })
      for (const keys of [
        chain,
        `${third!.verifierKey}\n${two}${one}`,
        `${first}\n${second!.verifierKey}\n${one}${two}`,
      ])
        handed.push({ keys, proof, proves: isDue }, { keys, proof: undefined, receipt, proves: isDue })
      // Of a key that others may have, only the tree of its hand-over is believed by itself.
      handed.push({ keys: revoked, proof, proves: isDue && size >= 6 })
      handed.push({ keys: revoked, proof: undefined, receipt, proves: isDue && size > 6 })
    }
  }
  const later = {
    ...(await prover.proveInclusion(3, 17)),
    checkpoint: signCheckpoint(third!, { treeSize: 17, root: roots[17]! }),
  }
  const early = {
    ...(await prover.proveInclusion(3, 5)),
    checkpoint: signCheckpoint(signer, { treeSize: 5, root: roots[5]! }),
  }
  const promised = signReceipt(signer, { sequence: 3, leafHash: leafHash(events[3]!) })
  const grown = await prover.proveConsistency(5, 17)
  const to = later.checkpoint
  handed.push(
    { keys: revoked, receipt: promised, proof: later, proves: true },
    { keys: revoked, receipt: promised, proof: early, proves: false },
    { keys: revoked, proof: { ...grown, from: early.checkpoint, to }, proves: true },
    { keys: revoked, proof: { ...(await prover.proveConsistency(3, 5)), to: early.checkpoint }, proves: false },
    // Another tree of the size at which the leaked key stepped down.
    { keys: revoked, proof: { ...later, ...forgedAt(6) }, proves: false },
  )
  const stolen = createNoteSigner('tokenvault/test', Buffer.alloc(32, 9))
  const foreign = ['a', 'b'].map(name => createNoteSigner(`tokenvault/${name}`, Buffer.alloc(32, 9)))
  const good = { proof: later, proves: true }
  const text = (note: string) => note.slice(0, note.indexOf('\n\n') + 1)
  const noted = (content: string, by: readonly NoteSigner[] = [signer, second!]) =>
    formatNote(
      content,
      by.map(({ name, sign }) => ({ name, signature: sign(content) })),
    )
  const lines = text(one).split('\n')
  const edited = (line: number, by: string) => `${first}\n${noted(lines.with(line, by).join('\n'))}${two}`
  const fork = signHandOver({ from: signer, to: stolen }, { treeSize: 6, root: roots[6]!, at, reason: 'routine' })
  const merge = signHandOver({ from: stolen, to: second! }, { treeSize: 6, root: roots[6]!, at, reason: 'routine' })
  const apart = signHandOver(
    { from: foreign[0]!, to: foreign[0]! },
    { treeSize: 6, root: roots[6]!, at, reason: 'routine' },
  )
  const elsewhere = signHandOver(
    { from: foreign[0]!, to: createNoteSigner('tokenvault/a', Buffer.alloc(32, 8)) },
    { treeSize: 6, root: roots[6]!, at, reason: 'routine' },
  )
  // To a key of another log.
  const away = signHandOver({ from: signer, to: foreign[0]! }, { treeSize: 6, root: roots[6]!, at, reason: 'routine' })
  handed.push(
    ...[chain, `${chain}\n${one}`, `${second!.verifierKey}\n${one}${two}`].map(keys => ({ ...good, keys })),
    ...[
      `${first}\n${one}`,
      `${first}\n${two}`,
      `${first}\n${third!.verifierKey}\n`,
      `${chain}\n${fork}`,
      `${chain}\n${merge}`,
      `${first}\n${fork}${one}${two}`,
      `${chain}\n${apart}`,
      `${chain}\n${elsewhere}`,
      `${chain}\n${over(0, 7)}`,
      `${chain}\n${over(0, 6, 'revoked')}`,
      `${chain}\n${over(0, 6, 'routine', roots[5])}`,
      `${first}\n${over(0, 12)}${two}`,
      `${first}\n${over(0, 13)}${two}`,
      `${first}\n${stolen.verifierKey}\n${one}${two}`,
      `${first}\n${signHandOver({ from: third!, to: signer }, { treeSize: 15, root: roots[15]!, at, reason: 'routine' })}${one}${two}`,
      `${first}\n${noted(text(one), [signer])}${two}`,
      `${first}\n${noted(text(one), [second!])}${two}`,
      `${first}\n${noted(`${text(one)}more\n`)}${two}`,
      edited(0, 'tokenvault key hand-over v2'),
      edited(1, 'tokenvault/other'),
      edited(4, '06'),
      edited(4, '9999999999999999'),
      edited(5, 'x'),
      edited(5, base64(roots[6]!.subarray(1))),
      edited(6, '2026-03-01'),
      edited(7, 'lost'),
      '',
    ].map(keys => ({ ...good, keys, proves: false })),
    { proof: later, proves: false, keys: first },
    { proof: early, proves: false, keys: `${first}\n${away}` },
  )
  return handed
}

/** A proof by a tree of that size which the log never had, signed by its first key. */
function forgedAt(treeSize: number) {
  const wrong = leafHash(Buffer.from('x'))
  return { checkpoint: signCheckpoint(signer, { treeSize, root: wrong }) }
}

type Check = Pick<typeof proofs & typeof receipts & typeof history, 'checkProof' | 'checkReceipt' | 'readLogKeys'>

/** Whether the check accepts what it should, and refuses the rest by one of its codes and no other way. */
function isRight(check: Check, { keys: text, proof, receipt, proves }: Handed): boolean {
  try {
    const keys = text === undefined ? verifier : check.readLogKeys(text)
    if (receipt === undefined) check.checkProof(proof, keys)
    else check.checkReceipt(receipt, keys, proof)
    return proves
  } catch (error) {
    return !proves && error instanceof TokenvaultError && /^(receipt|checkpoint)_invalid$/.test(error.code)
  }
}

/** What the check is made of. Making proofs and signatures is in the same files, and shown elsewhere. */
const sources = ['proof', 'check-receipt', 'receipt', 'checkpoint', 'merkle', 'key-history', 'hand-over'].map(
  name => `tlog/${name}.ts`,
)

const from = {
  'tlog/merkle.ts': '/** Whether the path proves that the leaf',
  'tlog/receipt.ts': '/**\n * @param receipt as',
  'tlog/hand-over.ts': '/** @throws TokenvaultError `checkpoint_invalid` unless',
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
    const { readLogKeys } = await broken.load<typeof history>('tlog/key-history.ts')
    return handed.find(one => !isRight({ checkProof, checkReceipt, readLogKeys }, one))
  } catch (error) {
    return error
  }
}

/** Lines whose break is caught by another; that each of them refuses by itself is shown beside its own file. */
const harmless: readonly RegExp[] = [
  // Which refusal it is, and what a process does with its own key: key-history.test.ts.
  /const isOfOther = |const other = isSignedBy|traced/,
  // A root of another length, or a size that is none, comes to verifyInclusion and verifyConsistency, and is refused there.
  /if \(logName === '' \|\| !Number\.isSafeInteger\(treeSize\)/,
  // A size that is none, or a hash of another length, leads to no root.
  /isCount\(|isTreeHash|Number\.isSafeInteger\(n\)/,
  /if \(start === undefined\) return false/,
]
