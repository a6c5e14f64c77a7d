import { chmodSync, chownSync, mkdirSync, realpathSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { openLocalKek } from '../../src/kms/local.ts'
import { everyBitFlipped, pooled } from '../helpers/crypto/bytes.ts'
import { bytesUpTo, checkProperty } from '../helpers/crypto/property.ts'
import { temporaryDirectory } from '../helpers/embedded/embedded-directory.ts'

function kekFile(t: Test, bytes: Uint8Array): string {
  const path = join(t.testdir({}), 'kek')
  writeFileSync(path, bytes)
  chmodSync(path, 0o600)
  return path
}

function kekIn(directory: string, mode: number): string {
  const path = join(directory, 'kek')
  writeFileSync(path, thirtyTwo)
  chmodSync(path, mode)
  return path
}

const thirtyTwo = new Uint8Array(32).fill(1)
const material = new Uint8Array(64).fill(8)
const place = Buffer.from('token/ip/v1')

t.test('what a KEK wraps it unwraps, for the same place only', async t => {
  const kek = openLocalKek(kekFile(t, thirtyTwo))
  await checkProperty(
    t,
    'any key, any associated data, from any view',
    fc.asyncProperty(bytesUpTo(100), bytesUpTo(40), async (key, data) => {
      const wrapped = await kek.wrap(pooled(key), pooled(data))
      return Buffer.from(await kek.unwrap(pooled(wrapped), data)).equals(key)
    }),
  )
  const wrapped = await kek.wrap(material, place)
  await t.rejects(kek.unwrap(wrapped, Buffer.from('token/ip/v2')), { code: 'kek_mismatch' }, 'another place')
  const again = await kek.wrap(material, place)
  t.notOk(Buffer.from(wrapped).equals(again), 'the same key wraps differently each time')
  t.notOk(Buffer.from(wrapped).includes(Buffer.from(material)), 'nothing of the key stands in clear')
})

t.test('a wrapped key that was changed or cut is refused without saying how', async t => {
  const kek = openLocalKek(kekFile(t, thirtyTwo))
  const wrapped = await kek.wrap(material, place)
  const forged = [
    ...everyBitFlipped(wrapped),
    ...Array.from({ length: wrapped.length }, (_, length) => wrapped.subarray(0, length)),
    Buffer.concat([wrapped, Buffer.alloc(1)]),
  ]
  const answers = await Promise.all(
    forged.map(bytes =>
      kek.unwrap(bytes, place).then(
        () => 'unwrapped',
        error => `${error.code}: ${error.message}`,
      ),
    ),
  )
  t.equal(answers.length, (12 + 64 + 16) * 9 + 1)
  t.equal(new Set(answers).size, 1)
  t.match(answers[0], /^kek_mismatch: /)
})

t.test('a KEK is named by an id that tells nothing of it', async t => {
  const one = openLocalKek(kekFile(t, thirtyTwo))
  const same = openLocalKek(kekFile(t, thirtyTwo))
  const other = openLocalKek(kekFile(t, new Uint8Array(32).fill(2)))
  t.match(one.id, /^local:[0-9a-f]{16}$/)
  t.equal(one.id, same.id, 'the same in every process')
  t.not(one.id, other.id)
  const wrapped = await one.wrap(material, place)
  t.same(await same.unwrap(wrapped, place), Buffer.from(material))
  await t.rejects(other.unwrap(wrapped, place), { code: 'kek_mismatch' })
})

t.test('the file', async t => {
  for (const size of [0, 31, 33, 64]) {
    t.throws(
      () => openLocalKek(kekFile(t, new Uint8Array(size))),
      { code: 'kek_unavailable', message: `KEK_FILE holds ${size} bytes, not 32` },
      `of ${size} bytes is refused`,
    )
  }
  const missing = join(t.testdir({}), 'missing')
  const refusal = () => openLocalKek(missing)
  t.throws(refusal, { code: 'kek_unavailable', message: 'KEK_FILE cannot be read (ENOENT)' }, 'that is not there')
  t.throws(() => openLocalKek(t.testdir({})), { code: 'kek_unavailable' }, 'that is a folder')
})

const isPosix = process.getuid !== undefined
const posixOnly = { skip: isPosix ? false : 'Windows has no modes' }

/** A directory that everybody can come near, or nobody but this user. */
function directoryOf(t: Test, mode: 0o755 | 0o700): string {
  const directory = temporaryDirectory(t)
  chmodSync(directory, mode)
  return directory
}

/** Where a private directory for temporary files stands above all of them, none is open. */
const isOpenAbove = (statSync(realpathSync(tmpdir())).mode & 0o001) !== 0

t.test('file modes that are taken anywhere', posixOnly, async t => {
  // By mode and not by access: root may read a file of any mode.
  for (const mode of [0o600, 0o400, 0o640, 0o440]) {
    const path = kekIn(directoryOf(t, 0o755), mode)
    t.doesNotThrow(() => openLocalKek(path), `${mode.toString(8)} is taken`)
  }
})

t.test('file modes that let others change the key are refused anywhere', posixOnly, async t => {
  for (const mode of [0o606, 0o620, 0o660, 0o601, 0o666, 0o777, 0o446]) {
    for (const around of [0o755, 0o700] as const) {
      const path = kekIn(directoryOf(t, around), mode)
      const says = { code: 'kek_unavailable', message: /chmod 600/ }
      t.throws(() => openLocalKek(path), says, `${mode.toString(8)} in ${around.toString(8)} is refused`)
    }
  }
})

t.test('what others may read is taken where they cannot come near it', posixOnly, async t => {
  for (const mode of [0o444, 0o644, 0o604, 0o404]) {
    const directory = directoryOf(t, 0o700)
    t.doesNotThrow(() => openLocalKek(kekIn(directory, mode)), mode.toString(8))
    const deeper = join(directory, 'open', 'to', 'all')
    mkdirSync(deeper, { recursive: true, mode: 0o777 })
    t.doesNotThrow(() => openLocalKek(kekIn(deeper, mode)), `${mode.toString(8)}, some directories deeper`)
  }
})

t.test('what others may read is refused where they can', { skip: !isPosix || !isOpenAbove }, async t => {
  const refusal = { code: 'kek_unavailable', message: /\(mode 0444\).*chmod 700.*defaultMode and fsGroup/s }
  const open = kekIn(directoryOf(t, 0o755), 0o444)
  t.throws(() => openLocalKek(open), refusal, 'in an open directory')

  const byLink = join(directoryOf(t, 0o700), 'kek')
  symlinkSync(open, byLink)
  t.throws(() => openLocalKek(byLink), refusal, 'by a link in a private directory to a file in an open one')

  for (const mode of [0o711, 0o701, 0o1777]) {
    const directory = directoryOf(t, 0o755)
    chmodSync(directory, mode)
    t.throws(() => openLocalKek(kekIn(directory, 0o444)), refusal, `a directory of mode ${mode.toString(8)}`)
  }

  const changeable = directoryOf(t, 0o755)
  chmodSync(changeable, 0o770)
  t.throws(() => openLocalKek(kekIn(changeable, 0o444)), refusal, 'a directory whose group could swap the file')
})

t.test('links as Kubernetes makes them, of the file and of its directory', posixOnly, async t => {
  const mount = (around: 0o755 | 0o700, mode: number) => {
    const directory = directoryOf(t, around)
    mkdirSync(join(directory, '..2026_11_29'), { mode: 0o755 })
    kekIn(join(directory, '..2026_11_29'), mode)
    symlinkSync('..2026_11_29', join(directory, '..data'))
    symlinkSync(join('..data', 'kek'), join(directory, 'kek'))
    return join(directory, 'kek')
  }
  t.doesNotThrow(() => openLocalKek(mount(0o755, 0o440)), 'defaultMode 0440')
  t.doesNotThrow(() => openLocalKek(mount(0o700, 0o444)), 'defaultMode 0444 below a private directory')
  if (isOpenAbove) t.throws(() => openLocalKek(mount(0o755, 0o444)), { code: 'kek_unavailable' }, 'below an open one')
})

const asRoot = { skip: process.getuid?.() === 0 ? false : 'only root can give files away' }
t.test('a private directory of somebody else protects nothing from him', asRoot, async t => {
  const directory = directoryOf(t, 0o700)
  const path = kekIn(directory, 0o444)
  t.doesNotThrow(() => openLocalKek(path))
  chownSync(directory, 12_345, 12_345)
  t.throws(() => openLocalKek(path), { code: 'kek_unavailable', message: /enter every directory/ })
})
