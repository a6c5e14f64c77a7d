import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { TokenvaultError } from '../errors.ts'

const host = '127.0.0.1'

/** A port of 127.0.0.1 that can be listened on now. */
export async function findFreePort(): Promise<number> {
  return (await listenOnce(0)) ?? 0
}

/** Whether this process may listen on the port of 127.0.0.1 now. */
export async function isPortFree(port: number): Promise<boolean> {
  return (await listenOnce(port)) !== undefined
}

/** What to throw when a server of ours could not listen. */
export function listenFailure(error: unknown, server: string, port: number): TokenvaultError {
  return isRefusal(error)
    ? new TokenvaultError('port_unavailable', `Cannot listen on port ${port} for ${server}`, { cause: error })
    : new TokenvaultError('embedded_failed', `${server} did not start`, { cause: error })
}

async function listenOnce(port: number): Promise<number | undefined> {
  const server = createServer()
  try {
    await once(server.listen({ host, port, exclusive: true }), 'listening')
  } catch (error) {
    if (isRefusal(error)) return undefined
    throw error
  }
  // An address of TCP is never a text or null once the server listens.
  const { port: found } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return found
}

function isRefusal(error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === 'EADDRINUSE' || error.code === 'EACCES')
}
