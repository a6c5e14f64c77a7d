import { TokenvaultError } from '../errors.ts'
import type { Environment } from './load.ts'

/** What Node's HTTP agents take as `proxyEnv`. */
export type Proxies = {
  readonly HTTP_PROXY?: string
  readonly HTTPS_PROXY?: string
  readonly NO_PROXY: string
}

/**
 * Never reached through a proxy: this machine, and the addresses at which EC2, ECS and EKS hand out credentials. They mean
 * another machine to the proxy, and credentials are not for it to see.
 */
const alwaysDirect = [
  ...['localhost', '127.0.0.1', '::1', '[::1]'],
  ...['169.254.169.254', 'fd00:ec2::254', '[fd00:ec2::254]'],
  ...['169.254.170.2', '169.254.170.23', 'fd00:ec2::23', '[fd00:ec2::23]'],
]

/**
 * The proxies that the environment names, as curl reads them: `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`, of which the
 * lower-case name wins.
 *
 * @returns undefined where there are none
 * @throws TokenvaultError `config_invalid` where one is not a URL; a proxy's URL may hold a password and is not repeated
 */
export function readProxies(environment: Environment): Proxies | undefined {
  const read = (name: string) => environment[name.toLowerCase()] || environment[name] || undefined
  const httpProxy = read('HTTP_PROXY')
  const httpsProxy = read('HTTPS_PROXY')
  if (httpProxy === undefined && httpsProxy === undefined) return undefined
  for (const [name, text] of Object.entries({ HTTP_PROXY: httpProxy, HTTPS_PROXY: httpsProxy })) {
    if (text !== undefined && !/^https?:$/.test(URL.parse(text)?.protocol ?? ''))
      throw new TokenvaultError('config_invalid', `${name} is not an http: or https: URL`)
  }
  return {
    ...(httpProxy === undefined ? {} : { HTTP_PROXY: httpProxy }),
    ...(httpsProxy === undefined ? {} : { HTTPS_PROXY: httpsProxy }),
    NO_PROXY: [read('NO_PROXY') ?? [], ...alwaysDirect].flat().join(','),
  }
}
