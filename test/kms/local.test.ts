import { chmodSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { openLocalKek } from '../../src/kms/local.ts'
import { everyBitFlipped, pooled } from '../helpers/crypto/bytes.ts'
import { bytesUpTo, checkProperty } from '../helpers/crypto/property.ts'

function kekFile(t: Test, bytes: Uint8Array, mode = 0o600): string {
  const path = join(t.testdir({}), 'kek')
  writeFileSync(path, bytes)
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

t.test('file modes', { skip: process.platform === 'win32' ? 'Windows has no modes' : false }, async t => {
  // By mode and not by access: root may read a file of any mode.
  for (const mode of [0o600, 0o400, 0o640, 0o440]) {
    t.doesNotThrow(() => openLocalKek(kekFile(t, thirtyTwo, mode)), `${mode.toString(8)} is taken`)
  }
  for (const mode of [0o644, 0o604, 0o606, 0o620, 0o660, 0o601, 0o666, 0o777]) {
    const open = () => openLocalKek(kekFile(t, thirtyTwo, mode))
    t.throws(open, { code: 'kek_unavailable', message: /chmod 600/ }, `${mode.toString(8)} is refused`)
  }
})
