import { randomBytes } from 'node:crypto'
import t from 'tap'
import { createNoteSigner, createNoteVerifier, formatNote, openNote, parseNote } from '../../src/tlog/signed-note.ts'
import { everyBitFlipped } from '../helpers/crypto/bytes.ts'

/** The published example keys and note of Go’s golang.org/x/mod/sumdb/note (its note_test). */
const peterKey = 'PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW'
/** PRIVATE+KEY+<name>+<id>+<base64 of type ‖ seed>. */
const peterPrivate = 'PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz'
const peterSeed = Buffer.from(peterPrivate.split('+').slice(4).join('+'), 'base64').subarray(1)
const text = `If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n`
const peterSignature = 'x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM='
const peterLine = `— PeterNeumann ${peterSignature}\n`
const enochKey = 'EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop'
const enochLine =
  '— EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnWLox33WWd1RvMc+QQ=\n'

const peter = createNoteVerifier(peterKey)
const enoch = createNoteVerifier(enochKey)
const invalid = (message: RegExp) => ({ code: 'checkpoint_invalid', message })

t.test('the published key signs the published note, byte for byte', async t => {
  const signer = createNoteSigner('PeterNeumann', peterSeed)
  t.equal(signer.verifierKey, peterKey)
  t.equal(signer.sign(text), peterSignature)
  t.equal(formatNote(text, [{ name: signer.name, signature: signer.sign(text) }]), `${text}\n${peterLine}`)
})

t.test('a published note opens under the key of any of its signatures, and others are ignored', async t => {
  const note = `${text}\n${peterLine}${enochLine}`
  t.equal(openNote(note, peter), text)
  t.equal(openNote(note, enoch), text)
  t.same(
    parseNote(note).signatures.map(({ name }) => name),
    ['PeterNeumann', 'EnochRoot'],
  )
  const sameName = createNoteSigner('PeterNeumann', randomBytes(32))
  const odd = { name: 'someone', signature: Buffer.alloc(40, 1).toString('base64') }
  const many = formatNote(text, [
    odd,
    { name: 'PeterNeumann', signature: sameName.sign(text) },
    { name: 'PeterNeumann', signature: peterSignature },
  ])
  t.equal(openNote(many, peter), text, 'another key of that name, and another kind of signature')
  const sameId = { name: 'someone', signature: peterSignature }
  t.throws(() => openNote(formatNote(text, [sameId]), peter), invalid(/no signature of the given key/))
})

t.test('a note without a true signature of the key does not open', async t => {
  t.throws(() => openNote(`${text}\n${enochLine}`, peter), invalid(/no signature of the given key/))
  t.throws(() => openNote(`${text.replace('problem', 'Problem')}\n${peterLine}`, peter), invalid(/signature .* wrong/))
  t.throws(() => openNote(`More.\n${text}\n${peterLine}`, peter), invalid(/signature .* wrong/))
  const wrong = { name: 'PeterNeumann', signature: createNoteSigner('PeterNeumann', peterSeed).sign('other\n') }
  const right = { name: 'PeterNeumann', signature: peterSignature }
  t.throws(() => openNote(formatNote(text, [right, wrong]), peter), invalid(/signature .* wrong/), 'one of two wrong')
  for (const bytes of everyBitFlipped(Buffer.from(peterSignature, 'base64'))) {
    const signature = Buffer.from(bytes).toString('base64')
    if (peter.verify(text, signature)) t.fail('a turned bit verifies')
  }
  const short = Buffer.from(peterSignature, 'base64').subarray(0, 60).toString('base64')
  t.throws(() => openNote(formatNote(text, [{ name: 'PeterNeumann', signature: short }]), peter), invalid(/wrong/))
})

t.test('text that is no note is refused as a whole', async t => {
  const badNotes = {
    'no signature': text,
    'no signature lines': `${text}\n`,
    'no newline at the end': `${text}\n${peterLine.slice(0, -1)}`,
    'a control character': `\u0001${text}\n${peterLine}`,
    'a tab': `\t${text}\n${peterLine}`,
    'a carriage return': `${text}\n${peterLine.replace('\n', '\r\n')}`,
    'no UTF-8': `\ud800${text}\n${peterLine}`,
    'a name with a space': `${text}\n— Bad Name ${peterSignature}\n`,
    'a name with another space': `${text}\n— Bad\u2003Name ${peterSignature}\n`,
    'a name with a plus': `${text}\n— Bad+Name ${peterSignature}\n`,
    'no name': `${text}\n—  ${peterSignature}\n`,
    'a hyphen': `${text}\n- PeterNeumann ${peterSignature}\n`,
    'a line that is no signature': `${text}\n${peterLine}Unexpected line.\n`,
    'no base64': `${text}\n— PeterNeumann !!!!\n`,
    base64url: `${text}\n${peterLine.replaceAll('/', '_')}`,
    'base64 without padding': `${text}\n${peterLine.replace('=', '')}`,
    'base64 with bits left over': `${text}\n${peterLine.replace('nAM=', 'nAN=')}`,
    'a key id and nothing else': `${text}\n— PeterNeumann x08gow==\n`,
    nothing: '',
  }
  for (const [title, note] of Object.entries(badNotes))
    t.throws(() => openNote(note, peter), invalid(/^the note is malformed/), title)
  t.throws(() => openNote(`${text}\n${peterLine.repeat(101)}`, peter), invalid(/more than 100/))
  t.equal(openNote(`${text}\n${peterLine.repeat(100)}`, peter), text)
})

t.test('the text of a note may hold empty lines; the last one ends it', async t => {
  const signer = createNoteSigner('a', peterSeed)
  const poem = 'one\n\ntwo\n\n\nthree\n'
  const note = formatNote(poem, [{ name: 'a', signature: signer.sign(poem) }])
  t.equal(openNote(note, createNoteVerifier(signer.verifierKey)), poem)
})

t.test('no part of a verifier key, and no other letter in it, makes a key', async t => {
  const wrong: string[] = []
  const refuses = (key: string) => {
    try {
      createNoteVerifier(key)
      wrong.push(key)
    } catch (error) {
      if ((error as { code?: string }).code !== 'checkpoint_invalid') wrong.push(`${key}: ${error}`)
    }
  }
  for (let from = 0; from <= peterKey.length; from++)
    for (let to = from; to <= peterKey.length; to++)
      if (from > 0 || to < peterKey.length) refuses(peterKey.slice(from, to))
  for (let at = 0; at < peterKey.length; at++)
    refuses(peterKey.slice(0, at) + String.fromCharCode(peterKey.charCodeAt(at) + 1) + peterKey.slice(at + 1))
  // Of another length and of another algorithm, each with a key id that fits.
  refuses('PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY==')
  refuses('PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW')
  refuses(peterKey.replace('c74f20a3', 'C74F20A3'))
  refuses(`${peterKey}\n`)
  t.same(wrong, [])
})

t.test('a signer is refused a name that no line could carry, and a seed of another length', async t => {
  for (const name of ['', 'a b', 'a+b', 'a\nb', 'a\u2028b', '\ud800'])
    t.throws(
      () => createNoteSigner(name, peterSeed),
      { code: 'config_invalid' },
      encodeURIComponent(name.toWellFormed()),
    )
  for (const length of [0, 31, 33, 64])
    t.throws(() => createNoteSigner('a', Buffer.alloc(length)), { code: 'keyset_invalid' })
})
