import type { Command } from 'commander'
import { type ApiOptions, addApiOptions, callApi } from '../api-client.ts'
import { printable } from '../printable.ts'

/** What the API answers for one token; see openapi/openapi.json. */
interface Item {
  readonly token: string
  readonly value?: string
  readonly error?: { readonly code: string }
}

export function addDetokenizeCommand(program: Command): void {
  const command = program
    .command('detokenize <token...>')
    .description('ask the API for the originals of tokens; exit code 1 when one of them is refused')
    .requiredOption('--purpose <purpose>', 'why, e.g. fraud_investigation; it goes into the evidence')
  addApiOptions(command, 'an investigator').action(
    async (tokens: string[], options: ApiOptions & { readonly purpose: string }) => {
      const { results } = await callApi<{ results: readonly Item[] }>(options, {
        method: 'POST',
        path: '/v1/detokenize',
        body: { purpose: options.purpose, tokens },
        roles: ['investigator'],
      })
      if (options.json) process.stdout.write(`${JSON.stringify({ results })}\n`)
      else
        for (const { token, value, error } of results)
          process.stdout.write(`${printable(token)}\t${printable(value ?? `error: ${error?.code}`)}\n`)
      if (results.some(({ error }) => error !== undefined)) process.exitCode = 1
    },
  )
}
