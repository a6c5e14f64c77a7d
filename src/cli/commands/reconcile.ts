import type { Command } from 'commander'
import { readFields } from '../../compose/fields.ts'
import { loadConfig } from '../../config/load.ts'
import { TokenvaultError } from '../../errors.ts'
import { createAuditReader } from '../../store/audit-reader.ts'
import { quote } from '../../store/columns/find-table.ts'
import { createFieldRecordReader } from '../../store/fields.ts'
import { createLedger } from '../../store/ledger.ts'
import { openCheckpoint } from '../../tlog/checkpoint.ts'
import { followHandOvers, type LogKeys } from '../../tlog/key-history.ts'
import { checkHolds } from '../../vault/evidence/make-checkpoint.ts'
import type { AuditReader } from '../../vault/evidence/ports.ts'
import type { ExternalCheckpoint } from '../../vault/evidence/verify/expected-roots.ts'
import { checkRecordedFields } from '../../vault/fields/recorded-fields.ts'
import type { Unmatched } from '../../vault/ledger/ports.ts'
import { type ReconciledColumn, type Reconciliation, reconcile } from '../../vault/ledger/reconcile.ts'
import { withAuditorDatabase } from '../local/auditor-database.ts'
import { readKeptCheckpoints, readVerifierKey } from '../local/evidence-files.ts'
import { dataDirOption, environmentHelp } from '../terminal/options.ts'
import { printable } from '../terminal/print.ts'
import { formatTextTable } from '../terminal/text-table.ts'

/** Options and action of `tokenvault reconcile`. */
export function configure(command: Command): void {
  command
    .addOption(dataDirOption())
    .option(
      '--checkpoint <path...>',
      'checkpoints kept outside the database: the log must hold the newest; paths as for `audit verify`',
    )
    .option('--key <key>', 'verifier key of the log, or a file that holds it')
    .option('--json', 'print one JSON line')
    .addHelpText(
      'after',
      `
DATABASE_URL is of role tokenvault_auditor. Without it, the database of the \`tokenvault up\` on --data-dir is read. No key
is needed, but with --checkpoint.

What a database lost as a whole, because a standby without it took over or a backup was restored, it cannot tell: only what
was kept elsewhere can.
${environmentHelp('reconcile')}`,
    )
    .action(async (options: ReconcileOptions) => {
      const { json, dataDir } = options
      const verifier = readVerifierKey(options.key, dataDir)
      if (options.checkpoint !== undefined && verifier === undefined)
        throw new TokenvaultError('usage', '--checkpoint goes with --key: without it anybody could have signed them')
      const kept = readKeptCheckpoints(options.checkpoint ?? [])
      const source = { applicationName: 'tokenvault reconcile', environment: process.env, dataDir }
      const result = await withAuditorDatabase(source, async ({ database, environment }) => {
        const fields = readFields(loadConfig('reconcile', environment))
        // Tokens of another format would all be without an original.
        checkRecordedFields(fields, await createFieldRecordReader(database).readRecordedFields())
        const found = await reconcile(createLedger(database), fields)
        if (verifier === undefined || kept.length === 0) return found
        const checkpoint = await compareNewest(createAuditReader(database), kept, verifier)
        return { ...found, isConsistent: found.isConsistent && checkpoint.isHeld, checkpoint }
      })
      process.stdout.write(json ? `${JSON.stringify(result)}\n` : describe(result))
      if (!result.isConsistent) process.exitCode = 1
    })
}

interface ReconcileOptions {
  readonly json?: true
  readonly dataDir: string
  readonly checkpoint?: readonly string[]
  readonly key?: string
}

/** What became of the events that a checkpoint covers. */
interface HeldCheckpoint {
  readonly treeSize: number
  readonly isHeld: boolean
  /** Why it is not held. */
  readonly detail?: string
}

async function compareNewest(
  reader: AuditReader,
  kept: readonly ExternalCheckpoint[],
  known: LogKeys,
): Promise<HeldCheckpoint> {
  const handOvers = await reader.readHandOvers()
  const verifier = followHandOvers(
    known,
    handOvers.map(({ note }) => note),
  )
  const notes = kept.map(({ note }) => ({
    note,
    treeSize: openCheckpoint(note, verifier, { isProven: true }).treeSize,
  }))
  const newest = notes.reduce((largest, other) => (other.treeSize > largest.treeSize ? other : largest))
  const { treeSize } = newest
  try {
    await checkHolds(reader, newest.note, verifier)
    return { treeSize, isHeld: true }
  } catch (error) {
    if (!(error instanceof TokenvaultError) || error.code !== 'audit_invalid') throw error
    return { treeSize, isHeld: false, detail: error.message }
  }
}

function describe(result: Reconciliation & { readonly checkpoint?: HeldCheckpoint }): string {
  const { days, unmatched, columns, checkpoint } = result
  const hasDetails = days.some(({ details }) => details !== undefined)
  const header = ['day', 'delivery records', 'rows recorded', 'stored', 'quarantine recorded', 'stored', 'verdict']
  if (hasDetails) header.splice(4, 0, 'details recorded', 'stored')
  const hasErased = days.some(({ erased }) => erased !== undefined)
  if (hasErased) header.splice(-1, 0, 'rows erased')
  const rows = days.map(({ day, deliveryRecords, rows, details, quarantined, erased, verdict }) => {
    const counts = [rows, ...(hasDetails ? [details ?? { recorded: 0, stored: 0 }] : []), quarantined]
    return [
      day ?? 'no day',
      String(deliveryRecords),
      ...counts.flatMap(({ recorded, stored }) => [String(recorded), String(stored)]),
      ...(hasErased ? [String(erased?.rows ?? 0)] : []),
      verdict.replaceAll('_', ' '),
    ]
  })
  const table = formatTextTable(header, rows)
  const lost = checkpoint?.isHeld === false ? [`a checkpoint kept elsewhere is not held: ${checkpoint.detail}`] : []
  const found = [...unmatched.map(describeUnmatched), ...columns.map(describeColumn)]
  return [table, ...found, ...lost, describeVerdict(result), ''].join('\n')
}

function describeVerdict({ isConsistent, timeline }: Reconciliation): string {
  if (!isConsistent) return 'NOT consistent'
  if (timeline === undefined) return 'consistent'
  const cause = `the server was promoted or restored (timeline ${timeline}), and what that lost as a whole left no trace in it`
  return `consistent in itself: ${cause}`
}

function describeUnmatched({ finding, field, day, count }: Unmatched): string {
  return `${day ?? 'no day'}  ${count} ${field}: ${finding.replaceAll('_', ' ')}`
}

function describeColumn({ schema, table, column, field, tokens, withoutOriginal, problem }: ReconciledColumn): string {
  const name = `column ${quote(column)} of ${quote(schema)}.${quote(table)}`
  if (problem !== undefined) return printable(`${name}: ${problem}`)
  const without = withoutOriginal === 0 ? 'each with its original' : `${withoutOriginal} of them without original`
  return printable(`${name}: ${tokens} tokens of ${field}, ${without}`)
}
