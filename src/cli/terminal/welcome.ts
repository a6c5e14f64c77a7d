import { join } from 'node:path'
import type { UserLoginsTable } from '../../store/postgres/schema.ts'
import { formatPairs, formatTextTable } from './text-table.ts'

const indent = '  '

/** What `tokenvault up` prints when everything runs. */
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
    formatPairs(
      [
        ['API', apiUrl],
        ['API docs', `${apiUrl}/docs`],
        ['queue', queueUrl],
        ['analysts’ SQL', analystUrl],
        ['JWT keys', jwksUrl],
        ['state, logs', dataDir],
        ['checkpoints', join(dataDir, 'checkpoints')],
      ],
      indent,
    ),
  ]
  if (rows.length > 0) {
    sections.push(`What analysts see (public.user_logins; tokens shortened here):\n\n${formatRows(rows)}`)
    const token = rows.find(({ masked_ip }) => masked_ip !== null)?.masked_ip ?? '<token>'
    sections.push(`Give one value back, as an investigator:\n\n${formatCurl(apiUrl, token, jwts.get('investigator')!)}`)
  }
  sections.push(`A JWT for each role, good for 8 hours:\n\n${formatPairs([...jwts], indent)}`)
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

function formatRows(rows: readonly UserLoginsTable[]): string {
  const names = Object.keys(rows[0]!) as (keyof UserLoginsTable)[]
  const cells = rows.map(row => names.map(name => String(row[name] ?? '')))
  return formatTextTable(names, cells, { indent, widestCell: 26 })
}
