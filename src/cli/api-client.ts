import { readFileSync } from 'node:fs'
import type { Command } from 'commander'
import { signWithDataDir } from '../embedded/issuer.ts'
import { TokenvaultError } from '../errors.ts'
import type { Problem } from '../http/problems/problem.ts'
import { developmentAudience, readRunning } from './local/state.ts'
import { useProxies } from './process/proxies.ts'
import { describeUnreadable } from './terminal/failure.ts'
import { dataDirOption } from './terminal/options.ts'
import { printable } from './terminal/print.ts'

/** Options that every command has which calls the API. */
export interface ApiOptions {
  readonly url?: string
  readonly jwtFile?: string
  readonly dataDir: string
  readonly json: boolean
}

/** One call: what is asked of the API, and the roles that the development issuer signs for it. */
export interface ApiCall {
  readonly method: 'GET' | 'POST'
  readonly path: string
  readonly body?: object
  readonly roles: readonly string[]
}

/**
 * Adds the options of ApiOptions.
 *
 * @param who whose JWT is used by default, e.g. `an investigator`
 * @param json what --json does
 */
export function addApiOptions(
  command: Command,
  who: string,
  json = 'print the API’s answer as one JSON line',
): Command {
  return command
    .option('--url <url>', 'where the API is (default: the one that `tokenvault up` runs)')
    .option('--jwt-file <file>', `file that holds your JWT (default: ${who} of the development issuer)`)
    .addOption(dataDirOption())
    .option('--json', json, false)
}

/**
 * Calls the API and returns what it answered.
 *
 * @throws TokenvaultError `usage`, `api_unavailable`; `api_refused` with the API's own code and title
 */
export async function callApi<T>(options: ApiOptions, call: ApiCall): Promise<T> {
  const url = options.url ?? readRunning(options.dataDir)?.apiUrl
  if (url === undefined)
    throw new TokenvaultError('usage', 'no API is known here; give --url, or run `tokenvault up` first')
  const endpoint = endpointOf(url, call.path)
  const jwt = await findJwt(options, call.roles)
  useProxies(process.env)
  let response: Response
  try {
    response = await fetch(endpoint, {
      method: call.method,
      headers: {
        authorization: `Bearer ${jwt}`,
        ...(call.body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(call.body === undefined ? {} : { body: JSON.stringify(call.body) }),
      signal: AbortSignal.timeout(30_000),
    })
  } catch (cause) {
    throw new TokenvaultError('api_unavailable', `no answer from ${endpoint.origin}`, { cause })
  }
  const answer = await readJson(response)
  if (response.ok && answer !== undefined) return answer as T
  const problem = (answer ?? {}) as Partial<Problem>
  if (problem.code === undefined)
    throw new TokenvaultError('api_unavailable', `${response.status}, and no answer of tokenvault’s`)
  throw new ApiRefused(response.status, problem, response.headers.get('retry-after'))
}

/** The API’s problem details, told with everything in them that helps to go on. */
export class ApiRefused extends TokenvaultError {
  readonly #remedy: string
  readonly status: number
  readonly problem: Partial<Problem>
  /** When the same call may succeed; undefined where the API does not say, or says a date. */
  readonly retryAfterSeconds: number | undefined

  /** @param retryAfter seconds, as the reply’s header has them */
  constructor(status: number, problem: Partial<Problem>, retryAfter: string | null) {
    const { code, title, detail, window, withoutApproval, requestId, remedy } = problem
    const notes = [
      ...(detail === undefined ? [] : [asSentence(detail)]),
      ...(window === undefined ? [] : [`It is the budget of a ${window}.`]),
      ...(withoutApproval === undefined ? [] : [describeRemaining(withoutApproval)]),
      ...(retryAfter === null ? [] : [`Retry-After: ${retryAfter} seconds.`]),
    ]
    super('api_refused', printable([`${status} ${code}: ${title} (request ${requestId}).`, ...notes].join(' ')))
    this.#remedy = remedy === undefined ? super.remedy : printable(remedy)
    this.status = status
    this.problem = problem
    this.retryAfterSeconds = retryAfter !== null && /^\d{1,9}$/.test(retryAfter) ? Number(retryAfter) : undefined
  }

  /** The API’s own, which knows what was asked. */
  override get remedy(): string {
    return this.#remedy
  }
}

/** What a caller may still take without a second person, in a sentence. */
export function describeRemaining({ above, windowSeconds, left }: NonNullable<Problem['withoutApproval']>): string {
  const hours = windowSeconds / 3600
  return `Without an approval, ${left} of ${above} values in ${hours} ${hours === 1 ? 'hour' : 'hours'} are left.`
}

function asSentence(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? '' : '.'}`
}

/** The URL may have a path of its own, where a proxy serves the API below it. */
function endpointOf(url: string, path: string): URL {
  const base = URL.parse(url)
  if (base === null || !/^https?:$/.test(base.protocol)) {
    throw new TokenvaultError('usage', '--url must be one of http:// or https://')
  }
  return new URL(`${base.origin}${base.pathname.replace(/\/+$/, '')}${path}`)
}

async function findJwt({ jwtFile, dataDir }: ApiOptions, roles: readonly string[]): Promise<string> {
  if (jwtFile === undefined) {
    return signWithDataDir(dataDir, developmentAudience, { subject: `dev-${roles[0]}`, roles, lifetimeSeconds: 60 })
  }
  try {
    return readFileSync(jwtFile, 'utf8').trim()
  } catch (cause) {
    throw new TokenvaultError('usage', `--jwt-file ${describeUnreadable(cause)}`, { cause })
  }
}

/** The reply may come from a proxy, and its page may not be JSON. */
async function readJson(response: Response): Promise<unknown> {
  try {
    return await response.json()
  } catch {
    return undefined
  }
}
