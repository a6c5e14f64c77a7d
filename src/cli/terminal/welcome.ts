import { join } from 'node:path'
import type { UserLoginsTable } from '../../store/postgres/schema.ts'
import { printable } from './printable.ts'

/** What `tokenvault up` tells when everything runs. */
export interface Welcome {
  readonly apiUrl: string
  readonly queueUrl: string
  readonly jwksUrl: string
  readonly analystUrl: string
  readonly dataDir: string
  readonly rows: readonly UserLoginsTable[]
  readonly jwts: ReadonlyMap<string, string>
}

export function formatWelcome({ apiUrl, queueUrl, jwksUrl, analystUrl, dataDir, rows, jwts }: Welcome): string {
  const sections = [
    'tokenvault runs. Ctrl-C stops everything; the next start keeps data, keys and messages.',
    formatPairs([
      ['API', apiUrl],
      ['API docs', `${apiUrl}/docs`],
      ['queue', queueUrl],
      ['analysts’ SQL', analystUrl],
      ['JWT keys', jwksUrl],
      ['state, logs', dataDir],
      ['checkpoints', join(dataDir, 'checkpoints')],
    ]),
  ]
  if (rows.length > 0) {
    sections.push(`What analysts see (public.user_logins; tokens shortened here):\n\n${formatTable(rows)}`)
    sections.push(
      `Give one value back, as an investigator:\n\n${formatCurl(apiUrl, rows[0]!.masked_ip, jwts.get('investigator')!)}`,
    )
  }
  sections.push(`A JWT for each role, good for 8 hours:\n\n${formatPairs([...jwts])}`)
  return `\n${sections.join('\n\n')}\n`
}

function formatCurl(apiUrl: string, token: string, jwt: string): string {
  return [
    `curl -s ${apiUrl}/v1/detokenize \\`,
    `  -H 'authorization: Bearer ${jwt}' \\`,
    `  -H 'content-type: application/json' \\`,
    `  -d '${JSON.stringify({ purpose: 'fraud_investigation', tokens: [token] })}'`,
  ].join('\n')
}

function formatPairs(pairs: readonly (readonly [string, string])[]): string {
  const width = Math.max(...pairs.map(([name]) => name.length))
  return pairs.map(([name, value]) => `  ${name.padEnd(width)}  ${value}`).join('\n')
}

const widestCell = 26

function formatTable(rows: readonly UserLoginsTable[]): string {
  const names = Object.keys(rows[0]!) as (keyof UserLoginsTable)[]
  const lines = [names, ...rows.map(row => names.map(name => shorten(printable(String(row[name] ?? '')))))]
  const widths = names.map((_, column) => Math.max(...lines.map(line => line[column]!.length)))
  const format = (cells: readonly string[]) =>
    `  ${cells.map((cell, column) => cell.padEnd(widths[column]!)).join('  ')}`.trimEnd()
  return [format(lines[0]!), format(widths.map(width => '-'.repeat(width))), ...lines.slice(1).map(format)].join('\n')
}

function shorten(text: string): string {
  return text.length <= widestCell ? text : `${text.slice(0, widestCell - 1)}…`
}
