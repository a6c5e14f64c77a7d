import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import type { Test } from 'tap'

/** A network that a test can spoil between a pool and its server. */
export interface DatabaseProxy {
  /** The URL that was given, by way of the proxy. */
  readonly url: string
  /** Connections made so far. */
  readonly connections: () => number
  /** From now on nothing passes on connections that are open; new ones are not affected. */
  silence(): void
  /** The next statement that is exactly this reaches the server; its answer does not come back, but an end of connection. */
  cutAnswerTo(statement: string): void
}

/** A TCP proxy before the server of a URL; closed when the test ends. */
export async function startDatabaseProxy(t: Pick<Test, 'teardown'>, target: string): Promise<DatabaseProxy> {
  const { hostname, port } = new URL(target)
  const sockets = new Set<Socket>()
  const silent = new WeakSet<Socket>()
  let connections = 0
  let cutStatement: string | undefined
  const server = createServer(client => {
    connections += 1
    const upstream = connect(Number(port), hostname)
    const end = () => {
      client.destroy()
      upstream.destroy()
    }
    let isCut = false
    for (const socket of [client, upstream]) {
      sockets.add(socket)
      socket.on('error', end).on('close', end)
    }
    client.on('data', data => {
      if (silent.has(client)) return
      if (cutStatement !== undefined && data.includes(`${cutStatement}\0`)) {
        isCut = true
        cutStatement = undefined
      }
      upstream.write(data)
    })
    upstream.on('data', data => {
      if (isCut) end()
      else if (!silent.has(client)) client.write(data)
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  const url = new URL(target)
  url.hostname = '127.0.0.1'
  url.port = String((server.address() as AddressInfo).port)
  return {
    url: url.href,
    connections: () => connections,
    silence() {
      for (const socket of sockets) silent.add(socket)
    },
    cutAnswerTo(statement) {
      cutStatement = statement
    },
  }
}
