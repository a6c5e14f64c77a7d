import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import type { Test } from 'tap'

/** What becomes of a connection on which a COMMIT was asked for. */
export type CommitFate =
  | 'pass'
  /** The server never sees the COMMIT. */
  | 'cut-before'
  /** The server gets the COMMIT, and nobody waits for its answer. */
  | 'cut-during'
  /** The server has answered that it is committed, and the answer is lost. */
  | 'cut-after'

export interface PostgresProxy {
  readonly port: number
  /** Ends every connection. */
  cutAll(): void
}

/**
 * Stands between a client and a Postgres and knows as much of the protocol (PostgreSQL 18, 54.7) as it takes to see a
 * COMMIT and its answer.
 *
 * @param target port of the server, or what says for each new connection where it leads; undefined refuses it
 * @param commitAsked decides about each COMMIT
 * @param beforeCut awaited at the moment of a cut, before the client sees anything of it
 */
export async function startPostgresProxy(
  t: Pick<Test, 'teardown'>,
  target: number | (() => number | undefined),
  commitAsked: () => CommitFate = () => 'pass',
  beforeCut: () => Promise<void> = async () => {},
): Promise<PostgresProxy> {
  const sockets = new Set<Socket>()

  const serve = (client: Socket) => {
    const port = typeof target === 'number' ? target : target()
    if (port === undefined) return reset(client)
    const server = connect(port, '127.0.0.1')
    const both = [client, server]
    for (const socket of both) {
      sockets.add(socket.setNoDelay(true))
      socket.on('error', () => {})
      socket.on('close', () => sockets.delete(socket))
    }
    let isAwaitingCommit = false
    let isCut = false
    const cut = () => {
      for (const socket of both) reset(socket)
    }
    client.on('close', () => server.end())
    server.on('close', () => client.destroy())

    const fromClient = createMessageReader(true)
    client.on('data', async chunk => {
      for (const message of fromClient(chunk)) {
        if (isCut) return
        const fate = isCommit(message) ? commitAsked() : 'pass'
        if (fate === 'pass') server.write(message)
        else if (fate === 'cut-after') {
          isAwaitingCommit = true
          server.write(message)
        } else {
          isCut = true
          // An orderly end after it: a reset could overtake the COMMIT.
          if (fate === 'cut-during') server.end(message)
          await beforeCut()
          if (fate === 'cut-during') reset(client)
          else cut()
        }
      }
    })
    // The client asked for nothing else, so what comes now begins with a whole message.
    const fromServer = createMessageReader(false)
    server.on('data', async chunk => {
      if (isCut) return
      if (!isAwaitingCommit) {
        client.write(chunk)
        return
      }
      for (const message of fromServer(chunk)) {
        if (message.toString('latin1', 0, 1) !== 'C' || message.toString('latin1', 5, 11) !== 'COMMIT') continue
        isCut = true
        await beforeCut()
        cut()
        return
      }
    })
  }
  const listener = createServer(serve)
  await once(listener.listen(0, '127.0.0.1'), 'listening')
  const cutAll = () => {
    for (const socket of sockets) socket.destroy()
  }
  t.teardown(() => {
    cutAll()
    listener.close()
  })
  return {
    port: (listener.address() as AddressInfo).port,
    cutAll,
  }
}

/** Node 24 never ends a process in which a socket was reset while its end was under way. */
function reset(socket: Socket): void {
  if (socket.writableEnded) socket.destroy()
  else socket.resetAndDestroy()
}

/** Whole messages: a type and a length that counts itself; only the first of a client has no type. */
function createMessageReader(hasStartup: boolean): (chunk: Buffer) => Buffer[] {
  let typeBytes = hasStartup ? 0 : 1
  let chunks: Buffer[] = []
  let length = 0
  let needed = typeBytes + 4
  return chunk => {
    const messages: Buffer[] = []
    chunks.push(chunk)
    length += chunk.length
    while (length >= needed) {
      const bytes = Buffer.concat(chunks)
      const end = typeBytes + bytes.readUInt32BE(typeBytes)
      chunks = [bytes]
      needed = end
      if (bytes.length < end) break
      messages.push(bytes.subarray(0, end))
      chunks = [bytes.subarray(end)]
      length = bytes.length - end
      typeBytes = 1
      needed = 5
    }
    return messages
  }
}

function isCommit(message: Buffer): boolean {
  return message.length < 32 && message[0] === 0x51 && /^commit\b/i.test(message.toString('latin1', 5))
}
