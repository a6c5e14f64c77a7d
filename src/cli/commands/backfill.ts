import type { Command } from 'commander'
import {
  type BackfillReport,
  type BackfillRequest,
  backfill,
  openBackfillDatabase,
  planBackfill,
} from '../../compose/backfill.ts'
import { type Environment, loadConfig } from '../../config/load.ts'
import { TokenvaultError } from '../../errors.ts'
import { quote } from '../../store/columns/find-table.ts'
import { forgetColumn } from '../../store/columns/registry.ts'
import { type ApiOptions, addApiOptions } from '../api-client.ts'
import { embeddedAdminUrl, fileVariables, readRunning } from '../local/state.ts'
import { createStoreValues } from '../local/store-values.ts'
import { stopSignal } from '../process/stop-signal.ts'
import { environmentHelp, wholeNumber } from '../terminal/options.ts'
import { print, printable } from '../terminal/print.ts'
import { createProgressBar } from '../terminal/progress-bar.ts'

const mostRows = 10_000

type Options = ApiOptions & {
  readonly table: string
  readonly column?: string
  readonly to: string
  readonly field?: string
  readonly key?: readonly string[]
  readonly purpose?: string
  readonly ticket?: string
  readonly createColumn?: true
  readonly batchSize: number
  readonly rate?: number
  readonly dryRun?: true
  readonly verify?: true
  readonly showKeys?: true
  readonly forget?: true
}

const help = `
Reads the values of --column, stores each through the API, and writes its token into --to, in the rows where --to is null.
Whatever ended a run, the next one goes on where it stopped. Rows that change meanwhile are looked at again; values that the
field does not accept are counted, and their rows stay as they are. Exit code 1 where such rows are left.

DATABASE_URL is of a role that may read and update the table, grant SELECT on it, and is a member of tokenvault_owner: the one of
\`tokenvault migrate\`. Without it, the database of the \`tokenvault up\` on --data-dir is taken.
`

/** Options and action of `tokenvault backfill`. */
export function configure(command: Command): void {
  command
    .requiredOption('--table <table>', 'table, as SQL names it: customers, app.customers, \'"App"."Customers"\'')
    .option('--column <column>', 'column of clear values')
    .requiredOption('--to <column>', 'column that gets the tokens')
    .option('--field <field>', 'field of the values, e.g. ip')
    .option('--key <columns...>', 'columns of a unique index, where the table has no primary key')
    .option('--create-column', 'add the column of --to where it is missing')
    .option('--purpose <purpose>', 'why, e.g. migration; it goes into the evidence')
    .option('--ticket <ticket>', 'under which you act, e.g. SEC-1234; it goes into the evidence')
    .option('--batch-size <rows>', 'rows of one transaction', wholeNumber(1, mostRows), mostRows)
    .option('--rate <rows>', 'rows a second, at most', wholeNumber(1, 999_999_999, 'It must be a number from 1.'))
    .option('--dry-run', 'look at the table and count; change nothing, and ask the API nothing')
    .option(
      '--verify',
      'prove at the end that each token is that of the value beside it, and say how to drop the values',
    )
    .option('--show-keys', 'name the keys of the first rows whose value is refused; they may be personal')
    .option('--forget', 'take the column of --to out of `tokenvault reconcile` again; its tokens stay')
    .addHelpText('after', `${help}${environmentHelp('backfill')}`)
  addApiOptions(command, 'a storing service', 'print the summary as one JSON line').action(run)
}

async function run(options: Options): Promise<void> {
  const config = loadConfig('backfill', environmentOf(options))
  if (options.forget) return forget(config, options)
  const { table, to, key, batchSize: batchRows, rate: rowsPerSecond } = options
  const request: BackfillRequest = {
    ...{ table, to, key, batchRows, rowsPerSecond },
    column: needed(options.column, '--column'),
    field: needed(options.field, '--field'),
    createsColumn: options.createColumn === true,
    verifies: options.verify === true,
  }
  if (options.dryRun) return tellPlan(config, request, options)
  const purpose = needed(options.purpose, '--purpose')
  const signal = stopSignal()
  const storeValues = createStoreValues(options, { field: request.field, purpose, ticket: options.ticket }, signal)
  const report: BackfillReport = {}
  const progress = createProgress()
  let isFailed = true
  try {
    await backfill(config, request, { storeValues, signal, report, onProgress: progress.update })
    isFailed = false
  } finally {
    progress.end()
    // What was filled stays filled, whatever ended the command.
    if (report.table !== undefined) tellReport(report, request, options, { isStopped: signal.aborted, isFailed })
  }
}

function needed(value: string | undefined, option: string): string {
  if (value === undefined || value === '') throw new TokenvaultError('usage', `${option} is missing`)
  return value
}

/** That of the shell or, where it names no database, of the superuser of `tokenvault up`, who owns the tables that people make. */
function environmentOf({ dataDir }: Options): Environment {
  if (process.env['DATABASE_URL'] || process.env['DATABASE_URL_FILE']) return process.env
  const url = embeddedAdminUrl(dataDir)
  return url === undefined ? process.env : { ...fileVariables(readRunning(dataDir) ?? {}), DATABASE_URL: url }
}

async function tellPlan(
  config: Parameters<typeof planBackfill>[0],
  request: BackfillRequest,
  { json }: Options,
): Promise<void> {
  const { table, total, filled, open } = await planBackfill(config, request)
  if (json) return print(JSON.stringify({ table: table.name, total, filled, open }))
  const missing = table.token === undefined ? `; ${quote(table.tokenName)} would be added` : ''
  print(printable(`${table.name}: ${total} rows, ${filled} with a token, ${open} to fill${missing}`))
  for (const trigger of table.triggers) print(printable(`trigger ${quote(trigger)} runs for each row that is filled`))
}

async function forget(config: Parameters<typeof openBackfillDatabase>[0], { table, to, json }: Options): Promise<void> {
  const database = openBackfillDatabase(config)
  try {
    const entry = await forgetColumn(database, table, to)
    if (entry === undefined)
      throw new TokenvaultError('table_unsuitable', 'no such column was entered for `tokenvault reconcile`')
    if (json) return print(JSON.stringify({ forgotten: entry }))
    print(printable(`${quote(entry.schema)}.${quote(entry.table)}: ${quote(entry.column)} is not reconciled any more`))
  } finally {
    await database.destroy()
  }
}

/** A bar for filling, and another one for verifying. */
function createProgress() {
  let bar: { readonly step: string; readonly bar: ReturnType<typeof createProgressBar> } | undefined
  return {
    update(step: 'filled' | 'verified', rows: number, total: number): void {
      if (bar?.step !== step) {
        bar?.bar.end()
        bar = { step, bar: createProgressBar({ total, unit: step, isTerminal: process.stderr.isTTY === true }) }
      }
      bar.bar.update(rows)
    },
    end: () => bar?.bar.end(),
  }
}

function tellReport(
  report: BackfillReport,
  { column, field }: BackfillRequest,
  { json, showKeys, verify }: Options,
  end: { readonly isStopped: boolean; readonly isFailed: boolean },
): void {
  const { table, filled, compared, open } = report
  const refused = [...(filled?.refused ?? [])]
  const isDone = filled?.isDone === true && refused.length === 0 && (compared?.different ?? 0) === 0
  if (!isDone || end.isFailed) process.exitCode = 1
  if (json) {
    print(
      JSON.stringify({
        ...{ table: table!.name, column, to: table!.tokenName, field },
        ...{ filled: filled?.filled ?? 0, changed: filled?.changed ?? 0, placeholders: filled?.placeholders ?? 0 },
        ...{ refused: Object.fromEntries(refused), open: open ?? null, passes: filled?.passes ?? 0 },
        verified: compared === undefined ? null : { equal: compared.equal, different: compared.different },
        ...{ isDone, stopped: end.isStopped, failed: end.isFailed },
        ...(showKeys ? { keys: { refused: filled?.refusedKeys ?? [], different: compared?.differentKeys ?? [] } } : {}),
      }),
    )
    return
  }
  const lines = describeReport(report, end)
  if (showKeys) lines.push(...describeKeys(report))
  const next = describeNext(report, { column, isDone, isVerified: verify === true && compared !== undefined, ...end })
  for (const line of [...lines, ...next]) print(printable(line))
}

function describeReport(
  { table, filled, compared }: BackfillReport,
  end: { isStopped: boolean; isFailed: boolean },
): string[] {
  const { filled: count = 0, placeholders = 0, changed = 0, refused = new Map<string, number>() } = filled ?? {}
  const parts = [`${count} filled`]
  if (placeholders > 0) parts.push(`${placeholders} left null as placeholders`)
  if (changed > 0) parts.push(`${changed} changed meanwhile and looked at again`)
  for (const [code, rows] of refused) parts.push(`${rows} refused (${code})`)
  const lines = [`${end.isFailed ? 'failed: ' : end.isStopped ? 'stopped: ' : ''}${table!.name}: ${parts.join(', ')}`]
  if (compared !== undefined)
    lines.push(`verified: ${compared.equal} tokens are those of the values beside them, ${compared.different} are not`)
  return lines
}

function describeKeys({ filled, compared, table }: BackfillReport): string[] {
  const names = table!.key.map(({ name }) => name).join(', ')
  const list = (what: string, keys: readonly (readonly string[])[] = []) =>
    keys.map(key => `${what} (${names}) = (${key.join(', ')})`)
  return [...list('refused', filled?.refusedKeys), ...list('another value', compared?.differentKeys)]
}

function describeNext(
  { table, filled, compared }: BackfillReport,
  state: { column: string; isDone: boolean; isVerified: boolean; isStopped: boolean; isFailed: boolean },
): string[] {
  const { name, tokenName } = table!
  if (state.isStopped || state.isFailed) return ['Run it again to go on.']
  if ((compared?.different ?? 0) > 0)
    return [`Set ${quote(tokenName)} to null in rows whose value has changed since, then run it again.`]
  if (filled?.isDone !== true)
    return ['Rows come faster than they are filled: let whoever writes them write their tokens, then run it again.']
  if (!state.isDone) return ['Correct the refused values, or set them to null, then run it again.']
  if (!state.isVerified) return ['Next: run it again with --verify, before the clear values are dropped.']
  return [
    `Next, once nothing writes or reads ${quote(table!.value.name)} any more: ALTER TABLE ${name} DROP COLUMN ${quote(table!.value.name)};`,
    'The values are in backups and in the write-ahead log until these are gone.',
  ]
}
