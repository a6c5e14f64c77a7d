import type { Command } from 'commander'
import { readFields } from '../../compose/fields.ts'
import { loadConfig } from '../../config/load.ts'
import { createLedger } from '../../store/ledger.ts'
import type { Unmatched } from '../../vault/ledger/ports.ts'
import { type Reconciliation, reconcile } from '../../vault/ledger/reconcile.ts'
import { withAuditorDatabase } from '../local/auditor-database.ts'
import { dataDirOption, environmentHelp } from '../terminal/options.ts'
import { formatTextTable } from '../terminal/text-table.ts'

/** Options and action of `tokenvault reconcile`. */
export function configure(command: Command): void {
  command
    .addOption(dataDirOption())
    .option('--json', 'print one JSON line')
    .addHelpText(
      'after',
      `
DATABASE_URL is of role tokenvault_auditor. Without it, the database of the \`tokenvault up\` on --data-dir is read. No key
is needed.
${environmentHelp('reconcile')}`,
    )
    .action(async ({ json, dataDir }: { json?: true; dataDir: string }) => {
      const source = { applicationName: 'tokenvault reconcile', environment: process.env, dataDir }
      const result = await withAuditorDatabase(source, ({ database, environment }) =>
        reconcile(createLedger(database), readFields(loadConfig('reconcile', environment))),
      )
      process.stdout.write(json ? `${JSON.stringify(result)}\n` : describe(result))
      if (!result.isConsistent) process.exitCode = 1
    })
}

function describe({ isConsistent, days, unmatched }: Reconciliation): string {
  const header = ['day', 'delivery records', 'rows recorded', 'stored', 'quarantine recorded', 'stored', 'verdict']
  const rows = days.map(({ day, deliveryRecords, rows, quarantined, verdict }) => [
    day ?? 'no day',
    ...[deliveryRecords, rows.recorded, rows.stored, quarantined.recorded, quarantined.stored].map(String),
    verdict.replaceAll('_', ' '),
  ])
  const table = formatTextTable(header, rows)
  return [table, ...unmatched.map(describeUnmatched), isConsistent ? 'consistent' : 'NOT consistent', ''].join('\n')
}

function describeUnmatched({ finding, field, day, count }: Unmatched): string {
  return `${day ?? 'no day'}  ${count} ${field}: ${finding.replaceAll('_', ' ')}`
}
