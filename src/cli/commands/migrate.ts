import type { Command } from 'commander'
import { prepareDatabase } from '../../compose/prepare-database.ts'
import { loadConfig } from '../../config/load.ts'
import { environmentHelp } from '../terminal/options.ts'

/** Options and action of `tokenvault migrate`. */
export function configure(command: Command): void {
  command
    .option('--json', 'print one JSON line')
    .addHelpText('after', environmentHelp('migrate'))
    .action(async ({ json }: { json?: true }) => {
      const done = await prepareDatabase(loadConfig('migrate', process.env))
      if (json) {
        process.stdout.write(`${JSON.stringify(done)}\n`)
        return
      }
      const list = (names: readonly string[]) => (names.length === 0 ? 'none missing' : names.join(', '))
      process.stdout.write(`migrations applied: ${list(done.migrations)}\nkeys made: ${list(done.keys)}\n`)
      process.stdout.write(`verifier key of the audit log: ${done.verifierKey}\n`)
      if (done.passwords.length > 0) process.stdout.write(`passwords set: ${list(done.passwords)}\n`)
    })
}
