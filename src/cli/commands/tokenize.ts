import type { Command } from 'commander'
import { type ApiOptions, addApiOptions, callApi } from '../api-client.ts'
import { readValues } from '../local/read-values.ts'
import { print, printable } from '../terminal/print.ts'
import { tellRefusedItems } from '../terminal/refused-items.ts'

/** What the API answers for one value; see openapi/openapi.json. */
interface Item {
  readonly field: string
  readonly token?: string
  readonly error?: { readonly code: string }
}

type Options = ApiOptions & { readonly field: string; readonly purpose: string; readonly ticket?: string }

/** Options and action of `tokenvault tokenize`. */
export function configure(command: Command): void {
  command
    .requiredOption('--field <field>', 'field of the values, e.g. ip')
    .requiredOption('--purpose <purpose>', 'why, e.g. fraud_investigation; it goes into the evidence')
    .option('--ticket <ticket>', 'under which you act, e.g. SEC-1234; it goes into the evidence')
    .addHelpText(
      'after',
      '\nReads values from standard input, one a line, as arguments would stand in the list of processes. Prints one token\na line, in the same order.',
    )
  addApiOptions(command, 'an investigator').action(tokenize)
}

async function tokenize({ field, purpose, ticket, ...options }: Options): Promise<void> {
  const values = await readValues(process.stdin)
  const answer = await callApi<{ results: readonly Item[] }>(options, {
    method: 'POST',
    path: '/v1/tokenize',
    body: { purpose, values: values.map(value => ({ field, value })), ticket },
    roles: ['investigator'],
  })
  if (options.json) print(JSON.stringify(answer))
  else for (const { token, error } of answer.results) print(printable(token ?? `error: ${error?.code}`))
  tellRefusedItems(answer.results)
}
