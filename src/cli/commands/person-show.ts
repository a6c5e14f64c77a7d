import type { Command } from 'commander'
import { type ApiOptions, addApiOptions, callApi } from '../api-client.ts'
import { tell } from '../terminal/tell.ts'
import { formatTextTable } from '../terminal/text-table.ts'

/** What the API answers; see openapi/openapi.json. */
interface Shown {
  readonly person: string
  readonly rows: number
  readonly months: readonly { readonly month: string; readonly rows: number }[]
  readonly firstDay: string
  readonly lastDay: string
  readonly tokens: readonly { readonly field: string; readonly tokens: readonly string[]; readonly hasMore: boolean }[]
  readonly quarantined: {
    readonly entries: readonly string[]
    readonly examined: number
    readonly unattributed: number
    readonly isComplete: boolean
  }
  readonly exports: readonly { readonly at: string; readonly kind: string; readonly target: string }[]
  readonly access: {
    readonly events: readonly {
      readonly at?: string
      readonly subject?: string
      readonly type?: string
      readonly purpose?: string
      readonly ticket?: string
    }[]
    readonly isComplete: boolean
  }
  readonly hold?: { readonly until: string; readonly reason: string }
}

/** Adds `tokenvault person show`. */
export function addPersonShow(person: Command): void {
  const show = person
    .command('show <user-id>')
    .description('what is held about a person, where copies went, who saw a value and why; gives no value')
  addApiOptions(show, 'the privacy desk').action(run)
}

async function run(userId: string, options: ApiOptions): Promise<void> {
  const call = { method: 'POST', path: '/v1/people/show', body: { userId }, roles: ['privacy'] } as const
  const shown = await callApi<Shown>(options, call)
  tell(options, shown, describe(shown))
}

function describe(shown: Shown): string[] {
  const { person, rows, months, firstDay, lastDay, tokens, quarantined, exports, access, hold } = shown
  const seen = access.events.map(({ at = '', subject = '', type = '', purpose = '', ticket = '' }) => {
    return [at, subject, type, purpose, ticket]
  })
  const orMore = (isComplete: boolean) => (isComplete ? '' : ' or more')
  return [
    `person      ${person}, as events name it`,
    `rows        ${rows}, from ${firstDay} to ${lastDay}`,
    ...months.map(month => `  ${month.month}   ${month.rows}`),
    ...tokens.map(({ field, tokens: found, hasMore }) => `tokens      ${field}: ${found.length}${orMore(!hasMore)}`),
    `quarantined ${quarantined.entries.length}${orMore(quarantined.isComplete)} of ${quarantined.examined} open entries; ${quarantined.unattributed} name nobody`,
    ...quarantined.entries.map(id => `  ${id}`),
    `copies      ${exports.length}`,
    ...exports.map(({ at, kind, target }) => `  ${at} ${kind} ${target}`),
    ...(hold === undefined ? [] : [`held        until ${hold.until}: ${hold.reason}`]),
    `seen        ${access.events.length}${orMore(access.isComplete)} times`,
    ...(seen.length === 0
      ? []
      : formatTextTable(['at', 'subject', 'type', 'purpose', 'ticket'], seen, { indent: '  ' }).split('\n')),
  ]
}
