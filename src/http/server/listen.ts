import { TokenvaultError } from '../../errors.ts'
import type { App } from '../app.ts'

/**
 * @returns the port listened on
 * @throws TokenvaultError `port_unavailable`
 */
export async function listen(app: App, { host, port }: { host: string; port: number }): Promise<number> {
  try {
    await app.listen({ host, port })
  } catch (cause) {
    throw new TokenvaultError('port_unavailable', `port ${port} of ${host} cannot be listened on`, { cause })
  }
  const [address] = app.addresses()
  if (typeof address !== 'object') throw new TokenvaultError('port_unavailable')
  return address.port
}
