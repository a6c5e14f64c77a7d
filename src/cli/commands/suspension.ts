import type { Command } from 'commander'
import { type ApiOptions, addApiOptions, callApi } from '../api-client.ts'
import { parsePageSize } from '../terminal/options.ts'
import { print, printable } from '../terminal/print.ts'
import { formatTextTable } from '../terminal/text-table.ts'

const roles = ['administrator']

/** `tokenvault suspension …`: who used up a daily budget. */
export function configure(suspension: Command): void {
  const add = (usage: string, description: string) =>
    addApiOptions(suspension.command(usage).description(description), 'an administrator')

  add('list', 'list who is suspended, newest first')
    .option('--limit <count>', 'suspensions a page, 1 to 1000', parsePageSize, '100')
    .option('--before <place>', 'continue behind the page before, which named this place')
    .action(list)
  add('lift <subject>', 'lift a suspension and forget what was spent')
    .requiredOption('--issuer <issuer>', 'issuer of the subject, as `suspension list` shows it')
    .action(lift)
}

async function list(options: ApiOptions & { limit: string; before?: string }): Promise<void> {
  const { limit, before } = options
  const path = `/v1/suspensions?${new URLSearchParams({ limit, ...(before && { before }) })}`
  const listed = await callApi<{
    suspensions: readonly { issuer: string; subject: string; suspendedAt: string }[]
    next?: string
  }>(options, { method: 'GET', path, roles })
  if (options.json) return print(JSON.stringify(listed))
  const rows = listed.suspensions.map(({ issuer, subject, suspendedAt }) => [subject, issuer, suspendedAt])
  print(rows.length === 0 ? 'nobody is suspended' : formatTextTable(['subject', 'issuer', 'suspended at'], rows))
  if (listed.next !== undefined) print(`more: --before ${listed.next}`)
}

async function lift(subject: string, options: ApiOptions & { issuer: string }): Promise<void> {
  const body = { issuer: options.issuer, subject }
  const lifted = await callApi<object>(options, { method: 'POST', path: '/v1/suspensions/lift', body, roles })
  print(options.json ? JSON.stringify(lifted) : `${printable(subject)} may act again`)
}
