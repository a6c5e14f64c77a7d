import { createConnection, type Socket } from 'node:net'
import { setTimeout } from 'node:timers/promises'

/** What a number of keep-alive connections measured, each with one request at a time. */
export interface Measured {
  readonly requestsPerSecond: number
  /** Milliseconds. */
  readonly p50: number
  readonly p99: number
}

/**
 * Sends requests over keep-alive connections for some seconds. A client of its own, because on two cores the CPU of a
 * comfortable one would be taken from the server that is measured.
 *
 * @param next the next request, whole
 * @param options.isPatient sends a request again that is answered `overloaded`, a moment later
 * @throws Error when a reply is not 200
 */
export async function load(
  port: number,
  next: () => Buffer,
  options: { connections: number; seconds: number; isPatient?: boolean },
): Promise<Measured> {
  const { connections, seconds, isPatient = false } = options
  const latencies: number[] = []
  const startedAt = performance.now()
  const endsAt = startedAt + seconds * 1000
  await Promise.all(Array.from({ length: connections }, () => keepAsking(port, next, { endsAt, isPatient, latencies })))
  const elapsedSeconds = (performance.now() - startedAt) / 1000
  latencies.sort((a, b) => a - b)
  const at = (part: number) => latencies[Math.min(latencies.length - 1, Math.floor(latencies.length * part))]!
  return { requestsPerSecond: latencies.length / elapsedSeconds, p50: at(0.5), p99: at(0.99) }
}

async function keepAsking(
  port: number,
  next: () => Buffer,
  { endsAt, isPatient, latencies }: { endsAt: number; isPatient: boolean; latencies: number[] },
): Promise<void> {
  const socket = createConnection({ host: '127.0.0.1', port, noDelay: true })
  try {
    while (performance.now() < endsAt) {
      const sentAt = performance.now()
      const request = next()
      socket.write(request)
      while ((await readReply(socket, isPatient)) === 'overloaded') {
        await setTimeout(100)
        socket.write(request)
      }
      latencies.push(performance.now() - sentAt)
    }
  } finally {
    socket.destroy()
  }
}

/** One reply, by its Content-Length. */
function readReply(socket: Socket, isPatient: boolean): Promise<'ok' | 'overloaded'> {
  return new Promise((resolve, reject) => {
    let received: Buffer = Buffer.alloc(0)
    const settle = (answer: Error | 'ok' | 'overloaded') => {
      socket.off('data', onData).off('error', settle).off('close', onClose)
      if (answer instanceof Error) reject(answer)
      else resolve(answer)
    }
    const onClose = () => settle(new Error('the server closed the connection'))
    const onData = (part: Buffer) => {
      received = received.length === 0 ? part : Buffer.concat([received, part])
      const headEnds = received.indexOf('\r\n\r\n')
      if (headEnds < 0) return
      const head = received.toString('latin1', 0, headEnds)
      const length = Number(/\r\ncontent-length: (\d+)/i.exec(head)?.[1])
      if (received.length < headEnds + 4 + length) return
      if (head.startsWith('HTTP/1.1 200')) return settle('ok')
      const code = /"code":"(\w+)"/.exec(received.toString('latin1', headEnds))?.[1]
      settle(isPatient && code === 'overloaded' ? code : new Error(`the server answered ${head.slice(9, 12)} ${code}`))
    }
    socket.on('data', onData).on('error', settle).on('close', onClose)
  })
}
