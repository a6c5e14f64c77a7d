import type { Command } from 'commander'
import { readFields } from '../../compose/fields.ts'
import { loadConfig } from '../../config/load.ts'
import { createLedger } from '../../store/ledger.ts'
import { createDatabase } from '../../store/postgres/database.ts'
import type { Unmatched } from '../../vault/ledger/ports.ts'
import { type Reconciliation, reconcile } from '../../vault/ledger/reconcile.ts'
import { environmentHelp } from '../terminal/options.ts'
import { formatTextTable } from '../terminal/text-table.ts'

/** Two scans of everything there is; the tables grow for years. */
const statementTimeoutMilliseconds = 12 * 3600 * 1000

/** Options and action of `tokenvault reconcile`. */
export function configure(command: Command): void {
  command
    .option('--json', 'print one JSON line')
    .addHelpText(
      'after',
      `\nDATABASE_URL is of role tokenvault_auditor. No key is needed.\n${environmentHelp('reconcile')}`,
    )
    .action(async ({ json }: { json?: true }) => {
      const config = loadConfig('reconcile', process.env)
      const fields = readFields(config)
      const applicationName = 'tokenvault reconcile'
      const database = createDatabase({
        url: config.DATABASE_URL,
        poolMax: 1,
        applicationName,
        statementTimeoutMilliseconds,
      })
      try {
        const result = await reconcile(createLedger(database), fields)
        process.stdout.write(json ? `${JSON.stringify(result)}\n` : describe(result))
        if (!result.isConsistent) process.exitCode = 1
      } finally {
        await database.destroy()
      }
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
