import { randomBytes } from 'node:crypto'
import t from 'tap'
import {
  formatCheckpoint,
  openCheckpoint,
  parseCheckpoint,
  readUnverifiedCheckpoint,
  signCheckpoint,
} from '../../src/tlog/checkpoint.ts'
import { createNoteSigner, createNoteVerifier, formatNote } from '../../src/tlog/signed-note.ts'

/** The example of C2SP tlog-checkpoint. */
const example = 'example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n'
const exampleNote = `${example}
— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
`
const signer = createNoteSigner('tokenvault/default', randomBytes(32))
const verifier = createNoteVerifier(signer.verifierKey)
const tree = { treeSize: 7, root: randomBytes(32) }
const invalid = (message: RegExp) => ({ code: 'checkpoint_invalid', message })

t.test('the example of the specification is read and written, byte for byte', async t => {
  const checkpoint = readUnverifiedCheckpoint(exampleNote)
  t.equal(checkpoint.logName, 'example.com/behind-the-sofa')
  t.equal(checkpoint.treeSize, 20_852_163)
  t.equal(formatCheckpoint(checkpoint), example)
})

t.test('what was signed opens, for every size that a number can count', async t => {
  for (const treeSize of [0, 1, 2 ** 32, Number.MAX_SAFE_INTEGER]) {
    const note = signCheckpoint(signer, { ...tree, treeSize })
    t.strictSame(openCheckpoint(note, verifier), { logName: 'tokenvault/default', treeSize, root: tree.root })
    t.strictSame(readUnverifiedCheckpoint(note), openCheckpoint(note, verifier))
  }
})

t.test('a checkpoint that was changed, or of another key or log, does not open', async t => {
  const note = signCheckpoint(signer, tree)
  const stranger = createNoteSigner('tokenvault/default', randomBytes(32))
  t.throws(() => openCheckpoint(note.replace('\n7\n', '\n8\n'), verifier), invalid(/signature .* wrong/))
  t.throws(() => openCheckpoint(signCheckpoint(stranger, tree), verifier), invalid(/no signature of the given key/))
  const foreign = formatCheckpoint({ logName: 'tokenvault/other', ...tree })
  const signed = formatNote(foreign, [{ name: signer.name, signature: signer.sign(foreign) }])
  t.throws(() => openCheckpoint(signed, verifier), invalid(/another log/))
})

t.test('extension lines are let be', async t => {
  t.match(parseCheckpoint(`${example}more\nand more\n`), { treeSize: 20_852_163 })
})

t.test('text of any other shape is no checkpoint', async t => {
  const [logName, size, root] = example.split('\n') as [string, string, string]
  const bad = {
    'no log name': `\n${size}\n${root}\n`,
    'no size': `${logName}\n\n${root}\n`,
    'no root': `${logName}\n${size}\n`,
    'a leading zero': `${logName}\n07\n${root}\n`,
    'a sign': `${logName}\n+7\n${root}\n`,
    'a fraction': `${logName}\n7.0\n${root}\n`,
    'an exponent': `${logName}\n1e3\n${root}\n`,
    'other digits': `${logName}\n٧\n${root}\n`,
    'more than a number counts': `${logName}\n9007199254740992\n${root}\n`,
    'a root of 31 bytes': `${logName}\n7\n${Buffer.alloc(31).toString('base64')}\n`,
    'a root in hexadecimal': `${logName}\n7\n${'ab'.repeat(32)}\n`,
    'a root with bits left over': `${logName}\n7\n${root.replace('q2I=', 'q2J=')}\n`,
    'no newline at the end': example.slice(0, -1),
    'an empty extension line': `${example}\n`,
    'an empty line before an extension': `${example}\nmore\n`,
    nothing: '',
  }
  for (const [title, text] of Object.entries(bad))
    t.throws(() => parseCheckpoint(text), invalid(/not a checkpoint/), title)
})
