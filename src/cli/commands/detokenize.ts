import { readFileSync } from 'node:fs'
import type { Command } from 'commander'
import { signWithDataDir } from '../../embedded/issuer.ts'
import { TokenvaultError } from '../../errors.ts'
import { defaultDataDir, readRunning } from '../running.ts'
import { developmentAudience } from '../up/embedded-stack.ts'

interface Options {
  readonly purpose: string
  readonly url?: string
  readonly jwtFile?: string
  readonly dataDir: string
  readonly json: boolean
}

/** What the API answers for one token; see openapi/openapi.json. */
interface Item {
  readonly token: string
  readonly value?: string
  readonly error?: { readonly code: string }
}

export function addDetokenizeCommand(program: Command): void {
  program
    .command('detokenize <token...>')
    .description('ask the API for the originals of tokens; exit code 1 when one of them is refused')
    .requiredOption('--purpose <purpose>', 'why, e.g. fraud_investigation; it goes into the evidence')
    .option('--url <url>', 'where the API is (default: the one that `tokenvault up` runs)')
    .option('--jwt-file <file>', 'file that holds your JWT (default: an investigator of the development issuer)')
    .option('--data-dir <dir>', 'where `tokenvault up` keeps its state', defaultDataDir)
    .option('--json', 'print the API’s answer as one JSON line', false)
    .action(async (tokens: string[], options: Options) => {
      const url = options.url ?? readRunning(options.dataDir)?.apiUrl
      if (url === undefined)
        throw new TokenvaultError('usage', 'no API is known here; give --url, or run `tokenvault up` first')
      const items = await callDetokenize(url, await findJwt(options), options.purpose, tokens)
      if (options.json) process.stdout.write(`${JSON.stringify({ results: items })}\n`)
      else
        for (const { token, value, error } of items)
          process.stdout.write(`${token}\t${value ?? `error: ${error?.code}`}\n`)
      if (items.some(({ error }) => error !== undefined)) process.exitCode = 1
    })
}

async function findJwt({ jwtFile, dataDir }: Options): Promise<string> {
  if (jwtFile === undefined) {
    const claims = { subject: 'dev-investigator', roles: ['investigator'], lifetimeSeconds: 60 }
    return signWithDataDir(dataDir, developmentAudience, claims)
  }
  try {
    return readFileSync(jwtFile, 'utf8').trim()
  } catch (cause) {
    throw new TokenvaultError('usage', '--jwt-file cannot be read', { cause })
  }
}

async function callDetokenize(
  url: string,
  jwt: string,
  purpose: string,
  tokens: readonly string[],
): Promise<readonly Item[]> {
  let response: Response
  try {
    response = await fetch(new URL('/v1/detokenize', url), {
      method: 'POST',
      headers: { authorization: `Bearer ${jwt}`, 'content-type': 'application/json' },
      body: JSON.stringify({ purpose, tokens }),
      signal: AbortSignal.timeout(30_000),
    })
  } catch (cause) {
    throw new TokenvaultError('api_unavailable', `no answer from ${new URL(url).origin}`, { cause })
  }
  const answer = (await response.json()) as {
    results?: readonly Item[]
    code?: string
    title?: string
    requestId?: string
  }
  if (answer.results !== undefined) return answer.results
  throw new TokenvaultError(
    'api_refused',
    `${response.status} ${answer.code}: ${answer.title} (request ${answer.requestId})`,
  )
}
