import type { Command } from 'commander'
import { prepareDatabase } from '../../compose/prepare-database.ts'
import { loadConfig } from '../../config/load.ts'
import { describeFindings } from '../../store/setup/findings.ts'
import { collect, environmentHelp } from '../terminal/options.ts'
import { printable } from '../terminal/print.ts'

interface MigrateOptions {
  readonly json?: true
  readonly analystSchema?: readonly string[]
}

/** Options and action of `tokenvault migrate`. */
export function configure(command: Command): void {
  command
    .option('--json', 'print one JSON line')
    .option('--analyst-schema <name>', 'make a schema for tables and views of analysts (dbt); repeatable', collect)
    .addHelpText('after', environmentHelp('migrate'))
    .action(async ({ json, analystSchema: analystSchemas = [] }: MigrateOptions) => {
      const { warnings, ...done } = await prepareDatabase(loadConfig('migrate', process.env), {
        environment: process.env,
        analystSchemas,
      })
      for (const warning of warnings) process.stderr.write(`tokenvault: warning: ${describeFindings([warning])}\n`)
      if (json) {
        process.stdout.write(`${JSON.stringify(done)}\n`)
        return
      }
      const list = (names: readonly string[]) => (names.length === 0 ? 'none missing' : names.join(', '))
      process.stdout.write(`migrations applied: ${list(done.migrations)}\nkeys made: ${list(done.keys)}\n`)
      if (done.mended.length > 0)
        process.stdout.write(
          `roles, owners and grants given back: ${done.mended.length} statements; --json lists them\n`,
        )
      process.stdout.write(`verifier key of the audit log: ${done.verifierKey}\n`)
      if (done.reapplied !== undefined && done.reapplied.entries > 0) {
        const { entries, people, rows } = done.reapplied
        process.stdout.write(
          `erasures re-applied after a restore: ${entries}, of ${people} people with ${rows} rows here\n`,
        )
      }
      if (analystSchemas.length > 0)
        process.stdout.write(`schemas of analysts: ${printable(list(done.analystSchemas))}\n`)
      if (done.detailColumns.length > 0)
        process.stdout.write(`columns of analyst.login_details added: ${list(done.detailColumns)}\n`)
      if (done.passwords.length > 0) process.stdout.write(`passwords set: ${list(done.passwords)}\n`)
    })
}
