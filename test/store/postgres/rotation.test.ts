import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { sql } from 'kysely'
import t from 'tap'
import { databaseUrl, loadConfig } from '../../../src/config/load.ts'
import { createDatabase, namingFailures, type TokenvaultDatabase } from '../../../src/store/postgres/database.ts'
import { temporaryDirectory } from '../../helpers/embedded/embedded-directory.ts'
import { createTestDatabase } from '../../helpers/postgres/embedded-postgres.ts'
import { connectTo, withLogin } from '../../helpers/postgres/vault-database.ts'

const userOf = async (database: TokenvaultDatabase) => {
  const { rows } = await namingFailures(() => sql<{ user: string }>`select current_user as user`.execute(database))
  return rows[0]!.user
}

t.test('each new session reads the URL of its file again: a rotated login needs no restart', async t => {
  const { adminUrl, name } = await createTestDatabase(t)
  const admin = await connectTo(t, adminUrl)
  const roles = [`${name}_a`, `${name}_b`]
  for (const role of roles) await admin.query(`CREATE ROLE ${role} LOGIN PASSWORD 'first'`)
  const file = join(temporaryDirectory(t), 'url')
  const write = (url: string) => writeFileSync(file, `${url}\n`)
  const urlOf = (password: string, role = roles[0]!) => withLogin(adminUrl, role, password)
  write(urlOf('first'))
  const config = loadConfig('worker', { DATABASE_URL_FILE: file, KEK_FILE: 'unused', SQS_QUEUE_URL: 'http://unused' })
  const database = createDatabase({ url: databaseUrl(config), poolMax: 1, applicationName: 'tokenvault test' })
  t.teardown(async () => {
    await database.destroy()
    for (const role of roles) await admin.query(`DROP ROLE ${role}`)
  })
  const endSessions = () =>
    admin.query('SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE usename = ANY ($1)', [roles])
  const afterwards = async (change: () => unknown) => {
    await change()
    await endSessions()
    // The pool may not have noticed yet that its idle session is gone.
    return userOf(database).catch(error =>
      /57P01|connection lost|ECONNRESET|EPIPE/.test(error.message) ? userOf(database) : error,
    )
  }

  t.equal(await userOf(database), roles[0])
  await admin.query(`ALTER ROLE ${roles[0]} PASSWORD 'second'`)
  t.equal(await userOf(database), roles[0], 'a session that is open stays')
  t.match(await afterwards(() => {}), { code: 'store_misconfigured', message: /28P01/ })
  t.equal(await afterwards(() => write(urlOf('second'))), roles[0])
  t.equal(await afterwards(() => write(urlOf('first', roles[1]))), roles[1], 'two users that take turns')

  const elsewhere = new URL(urlOf('hunter2'))
  elsewhere.pathname = '/postgres'
  const faults: [change: () => void, code: string, message: RegExp][] = [
    [() => rmSync(file), 'store_unavailable', /^DATABASE_URL_FILE cannot be read \(ENOENT\); put it back/],
    [() => writeFileSync(file, ''), 'store_unavailable', /^DATABASE_URL_FILE is empty/],
    [() => write('hunter2'), 'store_misconfigured', /^DATABASE_URL_FILE must match/],
    [() => write('postgresql://u:hunter2@a:b/c'), 'store_misconfigured', /^DATABASE_URL_FILE is not a URL/],
    [() => write(`${urlOf('hunter2')}?sslmod=x`), 'store_misconfigured', /^DATABASE_URL has the parameter sslmod,/],
    [() => write(elsewhere.href), 'store_misconfigured', /names another host, port or database.+only a restart/],
  ]
  for (const [change, code, message] of faults) {
    const failure = await afterwards(change)
    t.match(failure, { code, message })
    t.notMatch(failure.message, 'hunter2')
    t.equal(await afterwards(() => write(urlOf('second'))), roles[0], 'and heals when the file is right again')
  }
})
