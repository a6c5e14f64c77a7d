import type { Command } from 'commander'
import { TokenvaultError } from '../../errors.ts'
import type { presentApproval } from '../../http/approvals/schemas.ts'
import type { ApprovalDecision } from '../../vault/admission/approvals.ts'
import { approvalIdPattern } from '../../vault/admission/open-action.ts'
import { type ApiOptions, addApiOptions, callApi } from '../api-client.ts'
import { parsePageSize } from '../terminal/options.ts'
import { print, printable } from '../terminal/print.ts'
import { formatPairs, formatTextTable } from '../terminal/text-table.ts'

type ShownApproval = ReturnType<typeof presentApproval>

const roles = ['approver']

/** `tokenvault approval …`: requests that need a second person. */
export function configure(approval: Command): void {
  const add = (usage: string, description: string) =>
    addApiOptions(approval.command(usage).description(description), 'an approver')

  add('list', 'list requests, newest first: your own, or all of them if you may approve')
    .option('--state <state>', 'pending, approved, refused, used or expired', 'pending')
    .option('--limit <count>', 'requests a page, 1 to 1000', parsePageSize, '100')
    .option('--before <id>', 'continue after this request, the last one of the page before')
    .action(list)
  add('show <id>', 'show one request').action(show)
  add('approve <id>', 'approve a request: it may be used for 15 minutes, once').action((id, options) =>
    decide(id, 'approve', options),
  )
  add('refuse <id>', 'refuse a request for good').action((id, options) => decide(id, 'refuse', options))
}

async function list(options: ApiOptions & { state: string; limit: string; before?: string }): Promise<void> {
  const { state, limit, before } = options
  const path = `/v1/approvals?${new URLSearchParams({ state, limit, ...(before && { before }) })}`
  const page = await callApi<{ approvals: readonly ShownApproval[]; next?: string }>(options, {
    method: 'GET',
    path,
    roles,
  })
  if (options.json) return print(JSON.stringify(page))
  const rows = page.approvals.map(({ id, subject, purpose, ticket = '', reveal, values, expiresAt }) => {
    return [id, subject, purpose, ticket, reveal, String(values), expiresAt]
  })
  const header = ['id', 'asked by', 'purpose', 'ticket', 'reveal', 'values', 'expires at']
  print(rows.length === 0 ? `no request is ${printable(state)}` : formatTextTable(header, rows))
  if (page.next !== undefined) print(`more: --before ${page.next}`)
}

async function show(id: string, options: ApiOptions): Promise<void> {
  const approval = await callApi<ShownApproval>(options, { method: 'GET', path: `/v1/approvals/${checkId(id)}`, roles })
  if (options.json) return print(JSON.stringify(approval))
  const { roles: held, fields, ...plain } = approval
  const counts = Object.entries(fields).map(([field, count]) => `${field} ${count}`)
  const told = Object.entries(plain).map(([name, value]) => [name, String(value)] as const)
  print(formatPairs([...told, ['roles', held.join(', ')], ['fields', counts.join(', ')]]))
}

async function decide(id: string, decision: ApprovalDecision, options: ApiOptions): Promise<void> {
  const path = `/v1/approvals/${checkId(id)}/decision`
  const decided = await callApi<{ state: string }>(options, { method: 'POST', path, body: { decision }, roles })
  const next = decision === 'approve' ? '; whoever asked has 15 minutes to use it, once' : ''
  print(options.json ? JSON.stringify(decided) : `${id} ${decided.state}${next}`)
}

function checkId(id: string): string {
  if (!new RegExp(approvalIdPattern).test(id))
    throw new TokenvaultError('usage', 'an id is a UUID; see `approval list`')
  return id
}
