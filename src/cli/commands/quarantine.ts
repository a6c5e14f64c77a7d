import type { Command } from 'commander'
import { TokenvaultError } from '../../errors.ts'
import type { QuarantineEntry } from '../../vault/quarantine/ports.ts'
import type { ShownEntry } from '../../vault/quarantine/verbs.ts'
import { type ApiOptions, addApiOptions, callApi } from '../api-client.ts'
import { parsePageSize } from '../terminal/options.ts'
import { print, printable } from '../terminal/print.ts'
import { formatPairs, formatTextTable } from '../terminal/text-table.ts'

const roles = ['operator']

/** `tokenvault quarantine …`: the operator's commands on quarantined messages. */
export function configure(quarantine: Command): void {
  const add = (usage: string, description: string, who = 'an operator') =>
    addApiOptions(quarantine.command(usage).description(description), who)

  add('list', 'list entries, newest first')
    .option('--state <state>', 'quarantined, redrive_requested, redriven or discarded', 'quarantined')
    .option('--reason <reason>', 'only entries with this reason, e.g. ip_invalid')
    .option('--limit <count>', 'entries a page, 1 to 1000', parsePageSize, '100')
    .option('--before <id>', 'continue after this entry, the last one of the page before')
    .action(list)
  add('show <id>', 'show one entry: reason, and shape of the body', 'an operator, with --open also an investigator')
    .option('--open', 'show the body itself; this is audited as a detokenize call is')
    .option('--purpose <purpose>', 'with --open: purpose of the call; it goes into the evidence')
    .action(show)
  add('redrive [id]', 'have a worker try one entry again, or all')
    .option('--all', 'every entry that is quarantined')
    .option('--reason <reason>', 'with --all: only entries with this reason')
    .action(redrive)
  add('discard <id>', 'erase the body of one entry for good').action(discard)
}

async function list(
  options: ApiOptions & { state: string; reason?: string; limit: string; before?: string },
): Promise<void> {
  const { state, reason, limit, before } = options
  const query = new URLSearchParams({ state, limit, ...(reason && { reason }), ...(before && { before }) })
  const path = `/v1/quarantine?${query}`
  const page = await callApi<{ entries: readonly QuarantineEntry[]; next?: string }>(options, {
    method: 'GET',
    path,
    roles,
  })
  if (options.json) return print(JSON.stringify(page))
  const rows = page.entries.map(({ id, reason, sentOn, messageId, eventIndex, bodyBytes, redrives, createdAt }) => [
    id, reason, sentOn, messageId, String(eventIndex), String(bodyBytes ?? 'erased'), String(redrives), createdAt,
  ]) // biome-ignore format: one row of a table
  const header = ['id', 'reason', 'sent on', 'message', 'event', 'bytes', 'redrives', 'quarantined at']
  print(rows.length === 0 ? `no entry is ${state}` : formatTextTable(header, rows))
  if (page.next !== undefined) print(`more: --before ${page.next}`)
}

async function show(id: string, options: ApiOptions & { open?: true; purpose?: string }): Promise<void> {
  if (options.open) {
    if (options.purpose === undefined) throw new TokenvaultError('usage', '--open needs --purpose')
    const opened = await callApi<{ id: string; body: string }>(options, {
      method: 'POST',
      path: `${entryPath(id)}/open`,
      body: { purpose: options.purpose },
      roles: ['operator', 'investigator'],
    })
    return print(options.json ? JSON.stringify(opened) : printable(opened.body))
  }
  const entry = await callApi<ShownEntry>(options, { method: 'GET', path: entryPath(id), roles })
  if (options.json) return print(JSON.stringify(entry))
  const { shape, ...plain } = entry
  const lines: [string, string][] = Object.entries(plain).map(([name, value]) => [name, String(value ?? 'erased')])
  lines.push(['body is JSON', shape?.json ?? 'erased'])
  if (shape?.elements !== undefined) lines.push(['elements', String(shape.elements)])
  for (const { name, type } of shape?.properties ?? []) lines.push([`  ${name}`, type])
  if (shape?.otherProperties !== undefined) lines.push(['  other properties', String(shape.otherProperties)])
  print(formatPairs(lines))
}

async function redrive(id: string | undefined, options: ApiOptions & { all?: true; reason?: string }): Promise<void> {
  if ((id === undefined) === (options.all === undefined)) throw new TokenvaultError('usage', 'give an id, or --all')
  if (id !== undefined && options.reason !== undefined) throw new TokenvaultError('usage', '--reason goes with --all')
  const call = (path: string, body?: object) =>
    callApi<{ requested: number; next?: string }>(options, { method: 'POST', path, roles, ...(body && { body }) })
  let { requested, next } =
    id === undefined
      ? await call('/v1/quarantine/redrive', { ...(options.reason && { reason: options.reason }) })
      : await call(`${entryPath(id)}/redrive`)
  while (next !== undefined) {
    const page = await call('/v1/quarantine/redrive', {
      ...(options.reason && { reason: options.reason }),
      before: next,
    })
    requested += page.requested
    next = page.next
  }
  print(options.json ? JSON.stringify({ requested }) : `${requested} requested; a running worker redrives them`)
}

async function discard(id: string, options: ApiOptions): Promise<void> {
  const discarded = await callApi<object>(options, { method: 'POST', path: `${entryPath(id)}/discard`, roles })
  print(options.json ? JSON.stringify(discarded) : `${id} discarded; its body is erased`)
}

function entryPath(id: string): string {
  if (!/^[0-9a-f]{32}$/.test(id))
    throw new TokenvaultError('usage', 'an id is 32 hexadecimal digits; see `quarantine list`')
  return `/v1/quarantine/${id}`
}
