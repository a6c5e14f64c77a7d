import { join } from 'node:path'
import type { styleText } from 'node:util'
import { formatFittingTable, formatPairs } from './text-table.ts'

/** Columns of a terminal that does not say how many it has, and of everything that is not one. */
export const usualColumns = 80

const indent = '  '

/** Colours a text, or leaves it as it is where the output has no colour. */
export type Paint = (format: Parameters<typeof styleText>[0], text: string) => string

/** What runs on a data directory, and some of its rows. */
export interface Welcome {
  readonly apiUrl: string
  readonly queueUrl: string
  readonly metricsUrl?: string | undefined
  /** Without the password. */
  readonly analystUrl: string
  /** As it was given, so that commands that are shown find it. */
  readonly dataDir: string
  readonly rows: readonly object[]
  /** A role that may take a value out; undefined where the policy knows no `investigator` who may. */
  readonly revealer: string | undefined
}

/**
 * What `tokenvault up` prints when everything runs, and `tokenvault status` again: 23 lines at most, so that nothing of it
 * scrolls out of a terminal of 24 rows.
 *
 * @param terminal.columns the width that the table of rows fits
 */
export function formatWelcome(welcome: Welcome, terminal: { readonly columns: number; readonly paint: Paint }): string {
  const { apiUrl, queueUrl, metricsUrl, analystUrl, dataDir, rows } = welcome
  const { columns, paint } = terminal
  const heading = (text: string) => paint('bold', text)
  const table =
    rows.length === 0
      ? ['No login is stored yet: send events to the queue, or start with --input FILE.']
      : [heading('What analysts see (user_logins, shortened):'), formatRows(rows, columns, paint)]
  const lines = [
    `${paint(['bold', 'green'], 'tokenvault runs.')} Ctrl-C stops it; the next start keeps data, keys and messages.`,
    '',
    formatPairs(
      [
        ['API', apiUrl],
        ['queue', queueUrl],
        ['analysts’ SQL', analystUrl],
        ['its password', `in ${join(dataDir, passwordFile)} (PGPASSFILE)`],
        ...(metricsUrl === undefined ? [] : [['metrics', metricsUrl] as const]),
        ['state, logs', dataDir],
      ],
      indent,
    ),
    '',
    ...table,
    '',
    formatPairs(nextSteps(welcome, columns), indent, text => paint('cyan', text)),
  ]
  return `${lines.join('\n')}\n`
}

/** Passwords of analysts and auditors as libpq reads them, in the data directory. */
export const passwordFile = 'pgpass'

function nextSteps({ apiUrl, dataDir, rows, revealer }: Welcome, columns: number): [string, string][] {
  const where = dataDir === '.tokenvault' ? '' : ` --data-dir ${quoteForShell(dataDir)}`
  const token = rows.flatMap(row => Object.values(row)).find(isToken)
  const steps: [string, string][] = [['open the page', `${apiUrl}/`]]
  if (token !== undefined && revealer !== undefined) {
    const [command, rest] = ['npx tokenvault detokenize --purpose fraud_investigation', `${token}${where}`]
    const isOneLine = indent.length + 'open the page'.length + 4 + command.length + rest.length <= columns
    steps.push(['reveal a value', command + (isOneLine ? ` ${rest}` : ' \\')])
    if (!isOneLine) steps.push(['', `  ${rest}`])
  }
  steps.push(
    ['make a JWT', `npx tokenvault jwt --role ${revealer ?? 'ROLE'} --sub you${where}`],
    ['see this again', `npx tokenvault status${where}`],
  )
  return steps
}

/** A token and nothing that a shell would read. */
function isToken(cell: unknown): cell is string {
  return typeof cell === 'string' && /^[a-z][a-z0-9_]*_v[0-9]+_[A-Za-z0-9_-]+$/.test(cell)
}

function formatRows(rows: readonly object[], columns: number, paint: Paint): string {
  const names = Object.keys(rows[0]!)
  const cells = rows.map(row => names.map(name => String((row as Record<string, unknown>)[name] ?? '')))
  // Of a token some letters have to be seen, by which rows can be compared.
  const leastOf = (cell: string) => (isToken(cell) ? /^.*?_v[0-9]+_/.exec(cell)![0].length + 4 : 4)
  return formatFittingTable(names, cells, { indent, columns, paintHeader: text => paint('dim', text), leastOf })
}

/** One word of a POSIX shell, whatever the text holds. */
export function quoteForShell(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`
}
