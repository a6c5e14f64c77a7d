import http from 'node:http'
import type { Environment } from '../../config/load.ts'
import { readProxies } from '../../config/proxies.ts'

/**
 * From now on `fetch` and Node's own agents go through the proxies that the environment names, as those of AWS clients do.
 *
 * @throws TokenvaultError `config_invalid` as readProxies
 */
export function useProxies(environment: Environment): void {
  const proxies = readProxies(environment)
  if (proxies === undefined) return
  // Nodes before 24.14 do not have it; the one that npm brings along does.
  const setProxies = http.setGlobalProxyFromEnv as typeof http.setGlobalProxyFromEnv | undefined
  if (setProxies === undefined)
    process.emitWarning(`HTTP_PROXY and HTTPS_PROXY need a newer Node than ${process.version}`)
  else setProxies({ ...proxies })
}
