import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, watch, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import pg from 'pg'
import t, { type Test } from 'tap'
import { findFreePort } from '../../src/embedded/free-port.ts'
import { startPostgres } from '../../src/embedded/postgres.ts'
import { quitPostgres } from '../../src/embedded/postgres-survivors.ts'
import { createLog } from '../../src/log.ts'
import { temporaryDirectory } from '../helpers/embedded/embedded-directory.ts'
import { startProcess } from '../helpers/embedded/embedded-process.ts'

const isRoot = process.getuid?.() === 0
const isLinux = process.platform === 'linux'

async function start(t: Test, dataDir: string, port = 0) {
  const postgres = await startPostgres({ dataDir, port })
  t.teardown(postgres.stop)
  return postgres
}

/** Made once and copied: initdb, which flushes all it writes, takes longer than the rest of most tests. */
const template = temporaryDirectory(t)

/** A data directory with a cluster that was stopped in order. */
async function stoppedCluster(t: Test): Promise<string> {
  if (readdirSync(template).length === 0) await (await startPostgres({ dataDir: template, port: 0 })).stop()
  const dataDir = temporaryDirectory(t)
  // With owners, since root's server runs as another user.
  spawnSync('cp', ['-a', `${template}/.`, dataDir])
  return dataDir
}

async function query(connectionString: string, text: string, values: unknown[] = []) {
  const client = new pg.Client({ connectionString })
  // A server that is killed ends the connection; the awaited call tells of it.
  client.on('error', () => {})
  await client.connect()
  try {
    return (await client.query(text, values)).rows
  } finally {
    await client.end()
  }
}

const postmasterOf = (dataDir: string) =>
  Number(readFileSync(join(dataDir, 'postgres', 'postmaster.pid'), 'utf8').split('\n')[0])

const ownerOf = (pid: number) => statSync(`/proc/${pid}`).uid

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

/** Whether a user other than root can read this checkout at all. */
const isReadableFor = (uid: number) =>
  isRoot &&
  spawnSync(process.execPath, ['--version'], { uid, gid: uid, cwd: '/' }).status === 0 &&
  spawnSync('/bin/sh', ['-c', '[ -r "$1" ]', 'sh', fileURLToPath(import.meta.url)], { uid, gid: uid, cwd: '/' })
    .status === 0

t.test('starts, keeps its data over a restart, and leaves no process', async t => {
  const dataDir = join(temporaryDirectory(t), 'x'.repeat(120), `a 'quoted" $name`)
  const first = await start(t, dataDir)
  await query(first.adminUrl, 'CREATE TABLE kept AS SELECT 42 AS answer')
  const postmaster = postmasterOf(dataDir)
  await first.stop()
  await first.stop()
  t.equal(isAlive(postmaster), false)
  const second = await start(t, dataDir)
  t.strictSame(await query(second.adminUrl, 'SELECT answer FROM kept'), [{ answer: 42 }])
})

t.test('is set up as the design asks', async t => {
  const dataDir = await stoppedCluster(t)
  const { adminUrl, port } = await start(t, dataDir)
  const names = ['listen_addresses', 'unix_socket_directories', 'port', 'server_encoding', 'lc_messages', 'TimeZone',
    'data_checksums', 'fsync', 'max_connections', 'password_encryption', 'log_statement'] // biome-ignore format: a list
  const rows = await query(adminUrl, 'SELECT name, setting FROM pg_settings WHERE name = ANY ($1)', [names])
  t.strictSame(Object.fromEntries(rows.map(({ name, setting }) => [name, setting])), {
    listen_addresses: '127.0.0.1', unix_socket_directories: '', port: String(port), server_encoding: 'UTF8',
    lc_messages: 'C', TimeZone: 'UTC', data_checksums: 'on', fsync: 'on', max_connections: '200',
    password_encryption: 'scram-sha-256', log_statement: 'none',
  }) // biome-ignore format: pairs
  const rules = await query(adminUrl, 'SELECT DISTINCT auth_method FROM pg_hba_file_rules')
  t.strictSame(rules, [{ auth_method: 'scram-sha-256' }])
  const wrong = new URL(adminUrl)
  wrong.password = 'wrong'
  await t.rejects(query(wrong.href, 'SELECT'), { code: '28P01' })
  if (isLinux && isRoot) t.equal(ownerOf(postmasterOf(dataDir)), 65_534)
})

t.test('its secrets are private, and no statement reaches its log', async t => {
  const dataDir = temporaryDirectory(t)
  const { adminUrl, stop } = await start(t, dataDir)
  await t.rejects(query(adminUrl, `SELECT 'canary-statement' FROM nowhere`))
  await t.rejects(query(adminUrl, 'SELECT $1::text::inet', ['canary-parameter']))
  await query(adminUrl, `CREATE TABLE once (value text UNIQUE); INSERT INTO once VALUES ('canary-key')`)
  await t.rejects(query(adminUrl, 'INSERT INTO once VALUES ($1)', ['canary-key']))
  await stop()
  t.notMatch(readFileSync(join(dataDir, 'postgres.log'), 'utf8'), 'canary')
  for (const name of ['postgres-password', 'postgres.log']) t.equal(statSync(join(dataDir, name)).mode & 0o777, 0o600)
  t.equal(statSync(join(dataDir, 'postgres')).mode & 0o777, 0o700)
  t.strictSame(readdirSync(dataDir).sort(), ['postgres', 'postgres-password', 'postgres.log'])
})

t.test('two start at once on ports that the system picks', async t => {
  const [first, second] = await Promise.all([start(t, temporaryDirectory(t)), start(t, temporaryDirectory(t))])
  t.not(first.port, second.port)
})

t.test('a taken port is named, and the next start on a free one works', async t => {
  const dataDir = temporaryDirectory(t)
  const port = await findFreePort()
  const other = createServer().listen(port, '127.0.0.1')
  await once(other, 'listening')
  await t.rejects(startPostgres({ dataDir, port }), { code: 'port_unavailable', message: new RegExp(String(port)) })
  other.close()
  await once(other, 'close')
  t.equal((await start(t, dataDir, port)).port, port)
})

t.test('a cluster whose password is lost, or a directory of other files, is left alone', async t => {
  const dataDir = temporaryDirectory(t)
  mkdirSync(join(dataDir, 'postgres'))
  writeFileSync(join(dataDir, 'postgres', 'precious'), '')
  await t.rejects(startPostgres({ dataDir, port: 0 }), { code: 'embedded_failed', message: /no Postgres cluster/ })
  writeFileSync(join(dataDir, 'postgres', 'PG_VERSION'), '18\n')
  await t.rejects(startPostgres({ dataDir, port: 0 }), { code: 'embedded_failed', message: /postgres-password/ })
  t.strictSame(readdirSync(join(dataDir, 'postgres')).sort(), ['PG_VERSION', 'precious'])
})

t.test('a damaged cluster points to the log', async t => {
  const dataDir = await stoppedCluster(t)
  await (await start(t, dataDir)).stop()
  rmSync(join(dataDir, 'postgres', 'global', 'pg_control'))
  await t.rejects(startPostgres({ dataDir, port: 0 }), { code: 'embedded_failed', message: /see postgres\.log/ })
})

t.test('a server whose parent was killed is stopped, and its data kept', async t => {
  const dataDir = await stoppedCluster(t)
  const parent = startProcess(t, 'postgres', dataDir)
  const { adminUrl = '' } = (await parent.report) ?? {}
  await query(adminUrl, 'CREATE TABLE kept AS SELECT 42 AS answer')
  const survivor = postmasterOf(dataDir)
  await parent.end('SIGKILL')
  t.equal(isAlive(survivor), true, 'it outlives its parent')
  const { adminUrl: newUrl } = await start(t, dataDir)
  t.not(postmasterOf(dataDir), survivor)
  await t.rejects(query(adminUrl, 'SELECT'), { code: 'ECONNREFUSED' })
  t.strictSame(await query(newUrl, 'SELECT answer FROM kept'), [{ answer: 42 }])
})

t.test('a server that is quit ends without being waited for, its end is logged, its data kept', async t => {
  quitPostgres(temporaryDirectory(t))
  const dataDir = await stoppedCluster(t)
  const lines: string[] = []
  const log = createLog('info', { write: line => void lines.push(line) })
  const { adminUrl, stop } = await startPostgres({ dataDir, port: 0, log })
  t.teardown(stop)
  await query(adminUrl, 'CREATE TABLE kept AS SELECT 42 AS answer')
  quitPostgres(dataDir)
  while (lines.length === 0) await nextTurn()
  t.match(JSON.parse(lines[0]!), { event: 'postgres_ended' })
  const { adminUrl: newUrl } = await start(t, dataDir)
  t.strictSame(await query(newUrl, 'SELECT answer FROM kept'), [{ answer: 42 }])
})

t.test('a server that was itself killed recovers what was committed', async t => {
  const dataDir = await stoppedCluster(t)
  const { adminUrl } = await start(t, dataDir)
  await query(adminUrl, 'CREATE TABLE kept AS SELECT 42 AS answer')
  process.kill(postmasterOf(dataDir), 'SIGKILL')
  const second = await start(t, dataDir)
  t.strictSame(await query(second.adminUrl, 'SELECT answer FROM kept'), [{ answer: 42 }])
})

t.test('the pid file of a dead server does not block, whoever has its process id now', async t => {
  const dataDir = await stoppedCluster(t)
  const first = await start(t, dataDir)
  const pidFile = join(dataDir, 'postgres', 'postmaster.pid')
  const lines = readFileSync(pidFile, 'utf8').split('\n').slice(1)
  const owner = statSync(pidFile).uid
  await first.stop()
  // Of Postgres's own user: Postgres would take such a process for a server.
  const stranger: ChildProcess = spawn('sleep', ['600'], isRoot ? { uid: owner, gid: owner, cwd: '/' } : {})
  t.teardown(() => stranger.kill())
  writeFileSync(pidFile, [stranger.pid, ...lines].join('\n'))
  await start(t, dataDir)
  t.equal(stranger.exitCode ?? stranger.signalCode, null, 'the stranger is not touched')
})

t.test('the server of another data directory is left alone, even when a stale pid file names it', async t => {
  const [ours, theirs] = [await stoppedCluster(t), await stoppedCluster(t)]
  const { adminUrl } = await start(t, theirs)
  const first = await start(t, ours)
  const pidFile = join(ours, 'postgres', 'postmaster.pid')
  const lines = readFileSync(pidFile, 'utf8').split('\n').slice(1)
  await first.stop()
  writeFileSync(pidFile, [postmasterOf(theirs), ...lines].join('\n'))
  await start(t, ours)
  t.strictSame(await query(adminUrl, 'SELECT 1 AS one'), [{ one: 1 }])
})

t.test('a kill -9 in the middle of initdb is made good', async t => {
  const dataDir = temporaryDirectory(t)
  const watcher = watch(dataDir)
  t.teardown(() => watcher.close())
  const parent = startProcess(t, 'postgres', dataDir)
  for (;;) {
    await once(watcher, 'change')
    if (readdirSync(dataDir).some(name => name.startsWith('postgres.new-'))) break
  }
  await parent.end('SIGKILL')
  t.equal(existsSync(join(dataDir, 'postgres')), false)
  const { adminUrl } = await start(t, dataDir)
  t.strictSame(await query(adminUrl, 'SELECT 1 AS one'), [{ one: 1 }])
  t.notMatch(readdirSync(dataDir).join(' '), /\.new-/)
})

t.test('Ctrl-C reaches this process, not Postgres', async t => {
  const dataDir = await stoppedCluster(t)
  const parent = startProcess(t, 'postgres', dataDir)
  const { adminUrl = '' } = (await parent.report) ?? {}
  process.kill(-(parent.child.pid ?? 0), 'SIGINT')
  t.strictSame(await query(adminUrl, 'SELECT 1 AS one'), [{ one: 1 }])
  const postmaster = postmasterOf(dataDir)
  await parent.end('SIGTERM')
  t.equal(isAlive(postmaster), false)
})

t.test(
  'runs for an ordinary user',
  { skip: !isReadableFor(1000) && 'needs root and a checkout others can read' },
  async t => {
    const dataDir = temporaryDirectory(t, 1000)
    const parent = startProcess(t, 'postgres', dataDir, 1000)
    const { adminUrl = '' } = (await parent.report) ?? {}
    t.strictSame(await query(adminUrl, 'SELECT 1 AS one'), [{ one: 1 }])
    t.equal(ownerOf(postmasterOf(dataDir)), 1000)
    await parent.end('SIGTERM')
    await start(t, dataDir)
    t.equal(ownerOf(postmasterOf(dataDir)), 1000, 'and for root, as the owner of the cluster')
  },
)
