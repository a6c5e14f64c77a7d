import type { Command } from 'commander'
import { TokenvaultError } from '../../errors.ts'
import { type ApiOptions, addApiOptions, callApi } from '../api-client.ts'
import { readValues } from '../local/read-values.ts'
import { largestPage, wholeNumber } from '../terminal/options.ts'
import { print } from '../terminal/print.ts'
import { formatTextTable } from '../terminal/text-table.ts'

/** What is looked for, by option: the criterion of the API, its placeholder and what it means. */
const criteria = [
  ['token', 'token', 'the token, as it stands in user_logins'],
  [
    'field',
    'field',
    'calls about this field, e.g. ip; the field of --value-from-stdin, or of a --token that does not name it',
  ],
  ['subject', 'subject', 'calls of this principal'],
  ['issuer', 'issuer', 'calls of principals of this issuer'],
  ['actor', 'subject', 'calls of whoever acted for another'],
  ['actor-issuer', 'issuer', 'issuer of the actor'],
  ['client', 'client', 'calls by this application'],
  ['for-purpose', 'purpose', 'calls that stated this purpose'],
  ['ticket', 'ticket', 'calls under this ticket'],
  ['person', 'person', 'what was done about the person of this digest, as `person show` gives it'],
  ['type', 'type', 'operation, e.g. detokenize'],
  ['decision', 'decision', 'permitted, refused or pending'],
  ['code', 'code', 'why calls were refused'],
  ['from', 'time', 'events of this time and later, e.g. 2026-03-03T00:00:00+01:00'],
  ['to', 'time', 'events earlier than this'],
] as const

type Options = ApiOptions &
  Readonly<Record<string, unknown>> & {
    readonly purpose: string
    readonly valueFromStdin?: true
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
    .description(
      'list events of the audit log that meet all of what you name, newest first; the search is an event too',
    )
    .requiredOption('--purpose <purpose>', 'why you search, e.g. data_subject_request; it goes into the evidence')
  for (const [name, placeholder, description] of criteria) search.option(`--${name} <${placeholder}>`, description)
  search
    .option('--value-from-stdin', 'whoever asked for one value of --field, or for its token; standard input holds it')
    .option('--limit <count>', `events at most, 1 to ${largestPage}`, wholeNumber(1, largestPage), 100)
    .option('--before <sequence>', 'only events before this one', wholeNumber(0, 999_999_999_999_999))
    .addHelpText('after', '\nA value comes on standard input, as an argument would stand in the list of processes.')
  addApiOptions(search, 'an auditor').action(searchAudit)
}

async function searchAudit(options: Options): Promise<void> {
  const page = await readPage(options, await readWhere(options))
  if (options.json) return print(JSON.stringify(page))
  print(page.events.length === 0 ? 'no event is found' : formatEvents(page.events))
  if (page.next !== undefined) print(`more: --before ${page.next}`)
}

/** A rare conjunction in a large log takes the API several calls, each of them an event. */
async function readPage({ purpose, limit, ...options }: Options, where: object) {
  const events: FoundEvent[] = []
  for (let { before } = options; ; ) {
    const page = await callApi<{ events: readonly FoundEvent[]; next?: number }>(options, {
      method: 'POST',
      path: '/v1/audit/search',
      body: { purpose, where, limit: limit - events.length, before },
      roles: ['auditor'],
    })
    events.push(...page.events)
    if (events.length >= limit || page.next === undefined) return { ...page, events }
    before = page.next
    // The next line takes its place.
    if (process.stderr.isTTY) process.stderr.write(`\u001b[Klooked back to event ${before} …\r`)
  }
}

/** @throws TokenvaultError `usage` */
async function readWhere(options: Options): Promise<object> {
  const named = criteria.flatMap(([name]) => {
    const option = name.replace(/-(.)/g, (_, letter: string) => letter.toUpperCase())
    const text = options[option]
    return text === undefined ? [] : [[option === 'forPurpose' ? 'purpose' : option, text] as const]
  })
  const { valueFromStdin, token, field } = options
  if (valueFromStdin && (token !== undefined || field === undefined))
    throw new TokenvaultError('usage', '--value-from-stdin goes with --field, and not with --token')
  if (!valueFromStdin && named.length === 0)
    throw new TokenvaultError(
      'usage',
      'name what to look for, e.g. --subject, --token, or --field with --value-from-stdin',
    )
  return { ...Object.fromEntries(named), ...(valueFromStdin ? { value: await readOneValue() } : {}) }
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
