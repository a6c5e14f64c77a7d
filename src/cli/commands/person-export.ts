import { closeSync, fsyncSync, mkdirSync, openSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import type { Command } from 'commander'
import { TokenvaultError } from '../../errors.ts'
import { checkReport } from '../../tlog/person-report.ts'
import { type ApiOptions, addApiOptions, callApi } from '../api-client.ts'
import { needVerifierKey, readTextFile } from '../local/evidence-files.ts'
import { dataDirOption } from '../terminal/options.ts'
import { tell } from '../terminal/tell.ts'

/** Adds `tokenvault person export` and `person check`. */
export function addPersonExport(person: Command): void {
  const make = person
    .command('export <user-id>')
    .description('write the file of a person: rows, values, and who saw them, with proofs; JSON and CSV')
    .requiredOption('--out <directory>', 'new directory, which only you can read')
    .requiredOption('--purpose <purpose>', 'purpose of the call, e.g. data_subject_request')
    .option('--ticket <ticket>', 'ticket under which you act')
    .option('--approval <id>', 'id of the approval for exactly this call')
    .option('--names', 'name staff, instead of by a pseudonym of this report', false)
    .addHelpText(
      'after',
      '\nExit code: 0 if the file was written, 3 if the call needs an approval, 1 if it was refused.',
    )
  addApiOptions(make, 'the privacy desk').action(runExport)
  person
    .command('check <directory>')
    .description('check the file of a person with the verifier key alone')
    .option('--key <key>', 'verifier key of the log, or a file that holds it')
    .addOption(dataDirOption())
    .option('--json', 'print one JSON line', false)
    .action(runCheck)
}

type ExportOptions = ApiOptions & {
  readonly out: string
  readonly purpose: string
  readonly ticket?: string
  readonly approval?: string
  readonly names: boolean
}

interface Answer {
  readonly report?: string
  readonly statement?: string
  readonly approval?: { readonly id: string; readonly expiresAt: string }
}

async function runExport(userId: string, options: ExportOptions): Promise<void> {
  const { purpose, ticket, approval: approvalId, names, out } = options
  if (statSync(out, { throwIfNoEntry: false }) !== undefined)
    throw new TokenvaultError('usage', '--out is there already; name a new directory')
  const answer = await callApi<Answer>(options, {
    method: 'POST',
    path: '/v1/people/export',
    body: { userId, purpose, ticket, approvalId, names },
    roles: ['privacy', 'investigator'],
  })
  const { report, statement, approval } = answer
  if (report === undefined || statement === undefined) {
    process.exitCode = 3
    const { id = '', expiresAt = '' } = approval ?? {}
    const next = `needs an approval until ${expiresAt}: run the same command again with --approval ${id} once it is approved`
    return tell(options, { approval }, [next])
  }
  writeAll(out, new Map([['report.json', report], ['statement.note', statement], ...csvOf(report)]))
  tell(options, { out }, [`written to ${out}; check it by \`tokenvault person check\``])
}

function runCheck(directory: string, options: { key?: string; dataDir: string; json: boolean }): void {
  const verifier = needVerifierKey(options.key, options.dataDir)
  const read = (name: string) => readTextFile(join(directory, name), name)
  const report = read('report.json')
  const { events, proven } = checkReport(report, read('statement.note'), verifier)
  for (const [name, text] of csvOf(report))
    if (read(name) !== text) throw new TokenvaultError('person_report_invalid', `${name} is not what report.json says`)
  tell(options, { log: verifier.name, events, proven }, [
    `the report is genuine: ${verifier.name} signed it`,
    `access log: ${events} events, ${proven} proven to stand in the log, ${events - proven} promised by receipts`,
  ])
}

/** All of the files or none: they get their name together. Only the caller can read them. */
function writeAll(out: string, files: ReadonlyMap<string, string>): void {
  const partial = `${resolve(out)}.partial-${process.pid}`
  mkdirSync(partial, { mode: 0o700 })
  try {
    for (const [name, text] of files) {
      const file = openSync(join(partial, name), 'wx', 0o600)
      try {
        writeFileSync(file, text)
        fsyncSync(file)
      } finally {
        closeSync(file)
      }
    }
    renameSync(partial, out)
  } catch (cause) {
    rmSync(partial, { recursive: true, force: true })
    throw new TokenvaultError('usage', '--out cannot be written', { cause })
  }
}

type Cell = string | number | boolean | null | undefined

/** The same as tables (RFC 4180): made of the report alone, so that a check can make them again. */
function csvOf(report: string): [string, string][] {
  const { rows, values, access } = JSON.parse(report) as {
    rows: readonly { tokens: Record<string, string | null>; [column: string]: unknown }[]
    values: readonly Record<string, Cell>[]
    access: { events: readonly { sequence: number; leafHash: string; told: Record<string, string> }[] }
  }
  const flat = rows.map(({ tokens, ...row }) => ({ ...row, ...tokens }) as Record<string, Cell>)
  const events = access.events.map(({ sequence, leafHash, told }) => ({ sequence, ...told, leafHash }))
  return [
    ['rows.csv', table(flat)],
    ['values.csv', table(values)],
    ['access.csv', table(events)],
  ]
}

function table(rows: readonly Readonly<Record<string, Cell>>[]): string {
  const columns = [...new Set(rows.flatMap(row => Object.keys(row)))]
  return [columns, ...rows.map(row => columns.map(name => row[name]))]
    .map(cells => `${cells.map(cell).join(',')}\r\n`)
    .join('')
}

/** A spreadsheet runs what begins with = + - or @ as a formula: an apostrophe before it makes it text. */
function cell(content: Cell): string {
  const text = content === null || content === undefined ? '' : String(content)
  const harmless = typeof content === 'string' && /^[=+\-@\t\r\n]/.test(text) ? `'${text}` : text
  return /[",\r\n]/.test(harmless) ? `"${harmless.replaceAll('"', '""')}"` : harmless
}
