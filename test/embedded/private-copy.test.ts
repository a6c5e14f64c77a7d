import { chmodSync, chownSync, mkdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { copyOnce } from '../../src/embedded/private-copy.ts'
import { temporaryDirectory } from '../helpers/embedded/embedded-directory.ts'

function source(t: Test): string {
  const root = temporaryDirectory(t)
  mkdirSync(join(root, 'bin'))
  writeFileSync(join(root, 'bin', 'program'), 'genuine', { mode: 0o700 })
  writeFileSync(join(root, 'bin', 'unneeded.a'), 'archive')
  symlinkSync('program', join(root, 'bin', 'link'))
  return root
}

const isNeeded = (path: string) => !path.endsWith('.a')
const copy = (from: string, directories: string[], isUsable: (copy: string) => boolean = () => true) =>
  copyOnce(from, 'copy', isNeeded, isUsable, directories)
const read = (root: string | undefined) => readFileSync(join(root ?? '', 'bin', 'link'), 'utf8')

t.test('is readable by everybody, and made only once', async t => {
  const [from, to] = [source(t), temporaryDirectory(t)]
  const first = copy(from, [to])
  t.equal(first, join(to, 'copy'))
  t.equal(read(first), 'genuine')
  t.equal(statSync(join(to, 'copy', 'bin', 'program')).mode & 0o777, 0o755)
  t.throws(() => statSync(join(to, 'copy', 'bin', 'unneeded.a')), { code: 'ENOENT' })
  const { ino } = statSync(join(to, 'copy'))
  copy(from, [to])
  t.equal(statSync(join(to, 'copy')).ino, ino)
})

t.test('is made anew when a cleaner took files, or when others can have written it', async t => {
  const [from, to] = [source(t), temporaryDirectory(t)]
  copy(from, [to])
  rmSync(join(to, 'copy', 'bin', 'program'))
  t.equal(read(copy(from, [to])), 'genuine')
  writeFileSync(join(to, 'copy', 'bin', 'program'), 'forgery')
  chmodSync(join(to, 'copy', 'bin', 'program'), 0o777)
  t.equal(read(copy(from, [to])), 'genuine')
})

t.test('never is what somebody else put there', { skip: process.getuid?.() !== 0 && 'needs root' }, async t => {
  const [from, to, next] = [source(t), temporaryDirectory(t), temporaryDirectory(t)]
  copy(from, [to])
  writeFileSync(join(to, 'copy', 'bin', 'program'), 'forgery')
  chownSync(join(to, 'copy', 'bin', 'program'), 1000, 1000)
  t.equal(read(copy(from, [to])), 'genuine', 'a forged file in a directory of ours')
  rmSync(join(to, 'copy'), { recursive: true })
  mkdirSync(join(to, 'copy', 'bin'), { recursive: true })
  chownSync(join(to, 'copy'), 1000, 1000)
  t.equal(copy(from, [to, next]), join(next, 'copy'), 'a squatted name')
})

t.test('passes over directories where others could replace it, and where it cannot be used', async t => {
  const [from, open, noexec, good] = [source(t), temporaryDirectory(t), temporaryDirectory(t), temporaryDirectory(t)]
  chmodSync(open, 0o777)
  t.equal(
    copy(from, ['/nonexistent', open, noexec, good], found => !found.startsWith(noexec)),
    join(good, 'copy'),
  )
  t.throws(() => statSync(join(noexec, 'copy')), { code: 'ENOENT' }, 'and leaves no useless copy')
  t.equal(copy(from, [open]), undefined)
})
