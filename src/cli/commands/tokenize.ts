import type { Command } from 'commander'
import { TokenvaultError } from '../../errors.ts'
import { type ApiOptions, addApiOptions, callApi } from '../api-client.ts'
import { batchLimits, readValueBatches } from '../local/read-values.ts'
import { print, printable } from '../terminal/print.ts'
import { tellRefusedItems } from '../terminal/refused-items.ts'

/** What the API answers for one value; see openapi/openapi.json. */
interface Item {
  readonly field: string
  readonly token?: string
  readonly error?: { readonly code: string }
}

type Options = ApiOptions & {
  readonly purpose: string
  readonly ticket?: string
  readonly store?: true
  readonly atomic?: true
}

const help = `
Without a value, values are read from standard input, one a line, in batches of 10,000. Prefer that: arguments show in
the list of processes and in the shell's history. Prints one token a line, in the same order; with --json the API's
answer to each batch, one JSON line each.`

/** Arguments, options and action of `tokenvault tokenize`. */
export function configure(command: Command): void {
  command
    .argument('<field>', 'field of the values, e.g. ip')
    .argument('[value...]', 'values; everybody on this machine can read arguments')
    .requiredOption('--purpose <purpose>', 'why, e.g. fraud_investigation; it goes into the evidence')
    .option('--ticket <ticket>', 'under which you act, e.g. SEC-1234; it goes into the evidence')
    .option('--store', 'store the values in the vault, so that their tokens can be detokenized')
    .option('--atomic', 'all or nothing: one refused value refuses them all; for as many as one call takes')
    .addHelpText('after', help)
  addApiOptions(command, 'an investigator, or with --store a storing service,').action(tokenize)
}

async function tokenize(field: string, given: string[], options: Options): Promise<void> {
  const { purpose, ticket, store, atomic, json } = options
  const refused = new Map<string, Item>()
  for await (const values of batchesOf(given, atomic === true)) {
    const answer = await callApi<{ results: readonly Item[] }>(options, {
      method: 'POST',
      path: '/v1/tokenize',
      body: { purpose, values: values.map(value => ({ field, value })), ticket, store, atomic },
      roles: [store ? 'storing_service' : 'investigator'],
    })
    if (json) print(JSON.stringify(answer))
    else print(answer.results.map(({ token, error }) => printable(token ?? `error: ${error?.code}`)).join('\n'))
    for (const item of answer.results) if (item.error !== undefined) refused.set(item.error.code, item)
  }
  tellRefusedItems([...refused.values()])
}

/** @throws TokenvaultError `usage` where one call cannot take all, and all must stand in one */
async function* batchesOf(given: string[], isAtomic: boolean): AsyncGenerator<string[]> {
  const batches = given.length > 0 ? [given] : readValueBatches(process.stdin)
  if (!isAtomic) return yield* batches
  const all: string[][] = []
  for await (const batch of batches) {
    if (all.push(batch) > 1)
      throw new TokenvaultError('usage', `--atomic takes up to ${batchLimits.values} values, those of one call`)
  }
  yield* all
}
