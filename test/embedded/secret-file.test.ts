import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { readOrCreatePassword, readOrCreateSecret } from '../../src/embedded/secret-file.ts'
import { temporaryDirectory } from '../helpers/embedded/embedded-directory.ts'
import { startProcess } from '../helpers/embedded/embedded-process.ts'

t.test('a secret is made once, raw, and read ever after', async t => {
  const directory = temporaryDirectory(t)
  const path = join(directory, 'kek')
  const secret = readOrCreateSecret(path, 32)
  t.equal(secret.length, 32)
  t.strictSame(readOrCreateSecret(path, 32), secret)
  t.strictSame(readFileSync(path), secret)
  t.equal(statSync(path).mode & 0o777, 0o600)
  t.strictSame(readdirSync(directory), ['kek'], 'no temporary file stays')
})

t.test('a password is text that a URL takes as it stands', async t => {
  const path = join(temporaryDirectory(t), 'password')
  const password = readOrCreatePassword(path)
  t.match(password, /^[A-Za-z0-9_-]{43}$/)
  t.equal(readOrCreatePassword(path), password)
  t.equal(statSync(path).mode & 0o777, 0o600)
})

t.test('processes that create one secret at once all get the same', async t => {
  const directory = temporaryDirectory(t)
  const reports = await Promise.all(Array.from({ length: 4 }, () => startProcess(t, 'secret', directory).report))
  t.equal(new Set(reports.map(report => report?.['secret'])).size, 1)
  t.strictSame(readdirSync(directory), ['secret'])
})
