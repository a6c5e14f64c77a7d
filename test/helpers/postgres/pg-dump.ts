import { connect } from 'node:net'
import { Worker } from 'node:worker_threads'
import type { Test } from 'tap'
import { temporaryDirectory } from '../embedded/embedded-directory.ts'

/** What the thread of pg_dump is started with. */
export interface PgDumpThread {
  readonly directory: string
  readonly args: readonly string[]
  /** Counts what the socket brought: the thread sleeps on it, since pg_dump waits for every answer. */
  readonly arrivals: Int32Array
}

/**
 * A dump of a database by pg_dump itself, which npm brings as WebAssembly (@electric-sql/pglite-tools). Its calls of the network are
 * given to a thread that waits, and the socket is this thread's.
 *
 * @param url of a login that may read everything
 * @param args of pg_dump; plain SQL with COPY without any
 * @returns what pg_dump wrote, as it wrote it
 */
export async function pgDump(t: Pick<Test, 'teardown'>, url: string, args: readonly string[] = []): Promise<Buffer> {
  const { hostname, port } = new URL(url)
  const socket = connect(Number(port), hostname)
  const arrivals = new Int32Array(new SharedArrayBuffer(4))
  const workerData: PgDumpThread = { directory: temporaryDirectory(t), args: ['-d', url, ...args], arrivals }
  const thread = new Worker(new URL('pg-dump-thread.ts', import.meta.url), { workerData })
  const announce = (message: Uint8Array | 'end') => {
    thread.postMessage(message)
    Atomics.add(arrivals, 0, 1)
    Atomics.notify(arrivals, 0)
  }
  socket
    .on('data', announce)
    .on('close', () => announce('end'))
    .on('error', () => {})
  try {
    return await new Promise((resolve, reject) => {
      thread.on('error', reject)
      thread.on('message', message => {
        if (message instanceof Uint8Array) socket.write(message)
        else if ('dump' in message) resolve(Buffer.from(message.dump))
        else reject(new Error(`pg_dump ended: ${message.failed}`))
      })
    })
  } finally {
    socket.destroy()
    await thread.terminate()
  }
}
