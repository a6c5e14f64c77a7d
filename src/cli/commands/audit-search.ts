import type { Command } from 'commander'
import { TokenvaultError } from '../../errors.ts'
import { type ApiOptions, addApiOptions, callApi } from '../api-client.ts'
import { readValues } from '../local/read-values.ts'
import { largestPage, wholeNumber } from '../terminal/options.ts'
import { print } from '../terminal/print.ts'
import { formatTextTable } from '../terminal/text-table.ts'

type Options = ApiOptions & {
  readonly purpose: string
  readonly token?: string
  readonly field?: string
  readonly limit: number
  readonly before?: number
}

/** An event, as far as the table shows it; see openapi/openapi.json. */
interface FoundEvent {
  readonly sequence: number
  readonly at?: string
  readonly subject?: string
  readonly client?: string
  readonly actor?: { readonly subject: string }
  readonly type?: string
  readonly purpose?: string
  readonly decision?: string
  readonly requested?: number
  readonly granted?: number
}

/** Adds `tokenvault audit search`. */
export function addAuditSearch(audit: Command): void {
  const search = audit
    .command('search')
    .description('list who asked for one value or its token, when and why, newest first; the search is an event too')
    .requiredOption('--purpose <purpose>', 'why you search, e.g. data_subject_request; it goes into the evidence')
    .option('--token <token>', 'the token, as it stands in user_logins')
    .option('--field <field>', 'field of a --token that is a UUID or an address; or of the value on standard input')
    .option('--limit <count>', `events in one page, 1 to ${largestPage}`, wholeNumber(1, largestPage), 100)
    .option('--before <sequence>', 'the page of events before this one', wholeNumber(0, 999_999_999_999_999))
    .addHelpText(
      'after',
      '\nWithout --token, reads the value of --field from standard input, as an argument would stand in the list of processes.',
    )
  addApiOptions(search, 'an auditor').action(searchAudit)
}

async function searchAudit({ purpose, token, field, limit, before, ...options }: Options): Promise<void> {
  if (token === undefined && field === undefined)
    throw new TokenvaultError('usage', 'give either --token, or --field and a value on standard input')
  const value = token === undefined ? await readOneValue() : undefined
  const page = await callApi<{ events: readonly FoundEvent[]; next?: number }>(options, {
    method: 'POST',
    path: '/v1/audit/search',
    body: { purpose, token, field, value, limit, before },
    roles: ['auditor'],
  })
  if (options.json) return print(JSON.stringify(page))
  print(page.events.length === 0 ? 'no event names it' : formatEvents(page.events))
  if (page.next !== undefined) print(`more: --before ${page.next}`)
}

function formatEvents(events: readonly FoundEvent[]): string {
  const rows = events.map(event => new Map(Object.entries({ ...event, actor: event.actor?.subject })))
  // Most access tokens name neither an application nor an actor.
  const optional = ['client', 'actor'].filter(name => rows.some(row => row.get(name) !== undefined))
  const header = ['sequence', 'at', 'subject', ...optional, 'type', 'purpose', 'decision', 'requested', 'granted']
  return formatTextTable(
    header,
    rows.map(row => header.map(name => String(row.get(name) ?? ''))),
  )
}

async function readOneValue(): Promise<string> {
  const [value, ...others] = await readValues(process.stdin)
  if (others.length > 0) throw new TokenvaultError('usage', 'standard input holds several values; a search is for one')
  return value!
}
