import { chmodSync, mkdirSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { openDataDir } from '../../src/embedded/data-dir.ts'
import { temporaryDirectory } from '../helpers/embedded/embedded-directory.ts'
import { startProcess } from '../helpers/embedded/embedded-process.ts'

const modeOf = (path: string) => statSync(path).mode & 0o7777

t.test('creates the directory and those above it, private', async t => {
  const path = join(temporaryDirectory(t), 'a', 'b')
  const dataDir = openDataDir(path)
  t.teardown(dataDir.release)
  t.equal(dataDir.path, path)
  t.equal(dataDir.file('x'), join(path, 'x'))
  t.equal(modeOf(path), 0o700)
})

t.test('makes an empty directory private', async t => {
  const path = join(temporaryDirectory(t), 'made-by-hand')
  mkdirSync(path)
  chmodSync(path, 0o775)
  openDataDir(path).release()
  t.equal(modeOf(path), 0o700)
})

t.test('refuses a directory that others may write, and leaves its mode alone', async t => {
  const parent = temporaryDirectory(t)
  const sticky = join(parent, 'like-tmp')
  mkdirSync(sticky)
  chmodSync(sticky, 0o1777)
  const shared = join(parent, 'shared')
  mkdirSync(shared)
  writeFileSync(join(shared, 'somebody-elses-file'), '')
  chmodSync(shared, 0o775)
  for (const path of [sticky, shared]) {
    const before = modeOf(path)
    t.throws(() => openDataDir(path), { code: 'config_invalid' })
    t.equal(modeOf(path), before)
  }
})

t.test('refuses a path that is a file', async t => {
  const path = join(temporaryDirectory(t), 'file')
  writeFileSync(path, '')
  t.throws(() => openDataDir(path), { code: 'config_invalid' })
})

t.test('is refused a second time in the same process, until it is released', async t => {
  const path = temporaryDirectory(t)
  const first = openDataDir(path)
  t.throws(() => openDataDir(path), { code: 'already_running', message: new RegExp(`\\(process ${process.pid}\\)`) })
  t.throws(() => openDataDir(path), { code: 'already_running' }, 'a refusal does not loosen the lock')
  first.release()
  t.doesNotThrow(() => openDataDir(path).release())
})

t.test('is refused while another process holds it, and free once that process is killed', async t => {
  const path = temporaryDirectory(t)
  const holder = startProcess(t, 'lock', path)
  await holder.report
  t.throws(() => openDataDir(path), {
    code: 'already_running',
    message: new RegExp(`\\(process ${holder.child.pid}\\)`),
  })
  await holder.end('SIGKILL')
  t.doesNotThrow(() => openDataDir(path).release())
})

t.test('a file of the id of some live process does not block', async t => {
  const path = temporaryDirectory(t)
  writeFileSync(join(path, 'pid'), `${process.pid}\n`)
  writeFileSync(join(path, 'lock'), '')
  t.doesNotThrow(() => openDataDir(path).release())
})
