import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { sql } from 'kysely'
import t, { type Test } from 'tap'
import { namingFailures, type TokenvaultDatabase } from '../../../src/store/postgres/database.ts'
import { startDatabaseProxy } from '../../helpers/postgres/database-proxy.ts'
import { createTestDatabase } from '../../helpers/postgres/embedded-postgres.ts'
import { startTlsServer } from '../../helpers/postgres/tls-server.ts'
import { connectTo, openDatabase } from '../../helpers/postgres/vault-database.ts'

/** A port on which nothing listens any more. */
async function closedPort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

/** Accepts connections and never says a word. */
async function silentPort(t: Test): Promise<number> {
  const sockets: { destroy(): void }[] = []
  const server = createServer(socket => {
    sockets.push(socket)
    socket.on('error', () => {})
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return (server.address() as AddressInfo).port
}

async function nameOf(database: TokenvaultDatabase): Promise<string> {
  const { rows } = await namingFailures(() =>
    sql<{ name: string }>`select current_setting('application_name') as name`.execute(database),
  )
  return rows[0]!.name
}

t.test('each new session takes the first host that serves, as target_session_attrs asks', async t => {
  const { adminUrl, name } = await createTestDatabase(t)
  const admin = await connectTo(t, adminUrl)
  const one = await startDatabaseProxy(t, adminUrl)
  const two = await startDatabaseProxy(t, adminUrl)
  const [portOne, portTwo] = [one, two].map(({ url }) => Number(new URL(url).port))
  const gone = await closedPort()
  const { username, password } = new URL(adminUrl)
  const at = (hosts: string, query = '') => `postgresql://${username}:${password}@${hosts}/${name}${query}`
  const reached = async (url: string) => {
    const before = [one.connections(), two.connections()]
    await nameOf(openDatabase(t, url, 1))
    return [one, two].map((proxy, place) => proxy.connections() - before[place]!)
  }

  t.strictSame(await reached(at(`127.0.0.1:${gone},127.0.0.1:${portOne},127.0.0.1:${portTwo}`)), [1, 0])
  t.strictSame(await reached(at(`[::1]:${gone},127.0.0.1:${portTwo}`)), [0, 1])
  t.strictSame(await reached(at('', `?host=127.0.0.1,127.0.0.1&port=${gone},${portTwo}`)), [0, 1])
  const both = `127.0.0.1:${portOne},127.0.0.1:${portTwo}`
  t.strictSame(await reached(at(both, '?target_session_attrs=read-write')), [1, 0])
  t.strictSame(await reached(at(both, '?target_session_attrs=primary')), [1, 0])
  t.strictSame(await reached(at(both, '?target_session_attrs=prefer-standby')), [2, 1], 'asked for a standby first')
  const [byOne, byTwo] = await reached(at(both, '?load_balance_hosts=random'))
  t.equal(byOne! + byTwo!, 1)

  const refused: [attributes: string, says: string][] = [
    ['standby', 'is not a standby'],
    ['read-only', 'takes writes'],
  ]
  for (const [attributes, says] of refused) {
    const label = `(target_session_attrs=${attributes})`
    await t.rejects(reached(at(both, `?target_session_attrs=${attributes}`)), {
      code: 'store_unavailable',
      message: `127.0.0.1:${portOne}: ${says} ${label}; 127.0.0.1:${portTwo}: ${says} ${label}; the database answered: no host serves`,
    })
  }

  // Read-only, as a standby is.
  await admin.query(`ALTER DATABASE ${name} SET default_transaction_read_only = on`)
  t.strictSame(await reached(at(both, '?target_session_attrs=read-only')), [1, 0])
  await t.rejects(reached(at(both, '?target_session_attrs=read-write')), {
    message: /takes no writes.+takes no writes/,
  })
  // Each session has its own look: the same pool finds the server once it takes writes.
  const database = openDatabase(t, at(`127.0.0.1:${gone},127.0.0.1:${portTwo}`, '?target_session_attrs=read-write'), 1)
  await t.rejects(nameOf(database), {
    code: 'store_unavailable',
    message: new RegExp(
      `^127.0.0.1:${gone}: nothing accepts connections at the host and port .ECONNREFUSED.; 127.0.0.1:${portTwo}: takes no writes`,
    ),
  })
  await admin.query(`ALTER DATABASE ${name} RESET default_transaction_read_only`)
  t.equal(await nameOf(database), 'tokenvault test')
})

t.test(
  'a host that is silent or fails at TLS does not keep the next from being tried; a refused login does',
  async t => {
    const { adminUrl, name } = await createTestDatabase(t)
    const proxy = await startDatabaseProxy(t, adminUrl)
    const { username, password, port } = new URL(proxy.url)
    const tls = await startTlsServer(t)
    const silent = await silentPort(t)
    const url = (hosts: string, login: string, query = '') =>
      `postgresql://${username}:${login}@${hosts}/${name}${query}`
    const served = openDatabase(t, url(`127.0.0.1:${silent},127.0.0.1:${port}`, password, '?connect_timeout=1'), 1)
    t.equal(await nameOf(served), 'tokenvault test')
    const query = '?sslmode=verify-full'
    await t.rejects(nameOf(openDatabase(t, url(`localhost:${tls},localhost:${port}`, password, query), 1)), {
      code: 'store_misconfigured',
      message: new RegExp(`^localhost:${tls}: .+DEPTH_ZERO_SELF_SIGNED_CERT.; localhost:${port}: .+no TLS`),
    })
    const before = proxy.connections()
    const failure = await nameOf(openDatabase(t, url(`127.0.0.1:${port},127.0.0.1:${port}`, 'hunter2'), 1)).catch(
      error => error,
    )
    t.match(failure, { code: 'store_misconfigured', message: /SQLSTATE 28P01/ })
    t.notMatch(failure.message, 'hunter2')
    t.equal(proxy.connections(), before + 1)
  },
)
