import { createConnection, type Socket } from 'node:net'

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
 * @throws Error when a reply is not 200
 */
export async function load(
  port: number,
  next: () => Buffer,
  { connections, seconds }: { connections: number; seconds: number },
): Promise<Measured> {
  const latencies: number[] = []
  const startedAt = performance.now()
  const endsAt = startedAt + seconds * 1000
  await Promise.all(Array.from({ length: connections }, () => keepAsking(port, next, endsAt, latencies)))
  const elapsedSeconds = (performance.now() - startedAt) / 1000
  latencies.sort((a, b) => a - b)
  const at = (part: number) => latencies[Math.min(latencies.length - 1, Math.floor(latencies.length * part))]!
  return { requestsPerSecond: latencies.length / elapsedSeconds, p50: at(0.5), p99: at(0.99) }
}

async function keepAsking(port: number, next: () => Buffer, endsAt: number, latencies: number[]): Promise<void> {
  const socket = createConnection({ host: '127.0.0.1', port, noDelay: true })
  try {
    while (performance.now() < endsAt) {
      const sentAt = performance.now()
      socket.write(next())
      await readReply(socket)
      latencies.push(performance.now() - sentAt)
    }
  } finally {
    socket.destroy()
  }
}

/** One reply, by its Content-Length. */
function readReply(socket: Socket): Promise<void> {
  return new Promise((resolve, reject) => {
    let received: Buffer = Buffer.alloc(0)
    const settle = (error?: Error) => {
      socket.off('data', onData).off('error', settle).off('close', onClose)
      if (error) reject(error)
      else resolve()
    }
    const onClose = () => settle(new Error('the server closed the connection'))
    const onData = (part: Buffer) => {
      received = received.length === 0 ? part : Buffer.concat([received, part])
      const headEnds = received.indexOf('\r\n\r\n')
      if (headEnds < 0) return
      const head = received.toString('latin1', 0, headEnds)
      const length = Number(/\r\ncontent-length: (\d+)/i.exec(head)?.[1])
      if (received.length < headEnds + 4 + length) return
      if (head.startsWith('HTTP/1.1 200')) return settle()
      const code = /"code":"(\w+)"/.exec(received.toString('latin1', headEnds))?.[1]
      settle(new Error(`the server answered ${head.slice(9, 12)} ${code}`))
    }
    socket.on('data', onData).on('error', settle).on('close', onClose)
  })
}
